"""The maps among a network's outputs, on cells that can be compared from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fluxshard.models.tasks.maps import maps_among
from fluxshard.motion import CELL_PX, cells

_MOST_LABELS = 256  # an integer map of more values is no map of classes, but of numbers


@dataclass(frozen=True, slots=True, eq=False)
class OutputMap:
    """One output that describes the image, averaged over cells of at least 8 px.

    Attributes:
      values: `(C, h, w)` float32, without values that are not finite; of a map of classes, the share of each class.
      known: `(h, w)` bool, False where a value below the cell was not finite.
      is_shares: of a map of classes: values are 0..1 and comparable as they are.
    """

    values: Tensor
    known: Tensor
    is_shares: bool


def output_maps(outputs: Any, size: tuple[int, int]) -> list[OutputMap]:
    """The maps among outputs, in the order of their structure.

    `maps_among` says what a map is. Integers and bools of one channel are classes, unless there are more than 256 of
    them.

    Args:
      outputs: of any structure, on the CPU.
      size: (H, W) in pixels of what they describe.
    """
    return [_on_cells(tensor, size) for tensor in maps_among(outputs, size)]


def _on_cells(tensor: Tensor, size: tuple[int, int]) -> OutputMap:
    planes = tensor.detach().reshape(-1, *tensor.shape[-2:])
    height, width = (min(n, cells(px, CELL_PX)) for n, px in zip(planes.shape[1:], size, strict=True))
    if not planes.is_floating_point() and len(planes) == 1:
        labels = planes[0].long()
        if int(labels.min()) >= 0 and int(labels.max()) < _MOST_LABELS:
            known = torch.ones(height, width, dtype=torch.bool)
            return OutputMap(_shares(labels, (height, width)), known, True)
    planes = planes.float()
    values = F.adaptive_avg_pool2d(planes, (height, width))
    known = torch.isfinite(values).all(0)
    if not known.all():
        values = torch.where(known, values, 0)
    return OutputMap(values, known, False)


def _shares(labels: Tensor, shape: tuple[int, int]) -> Tensor:
    """Share of each class in each cell: `(largest label + 1, h, w)` float32."""
    count, (rows, columns) = int(labels.max()) + 1, shape
    row = torch.arange(labels.shape[0]) * rows // labels.shape[0]
    column = torch.arange(labels.shape[1]) * columns // labels.shape[1]
    cell = row[:, None] * columns + column[None, :]
    tallies = torch.bincount((labels * (rows * columns) + cell).flatten(), minlength=count * rows * columns)
    tallies = tallies.reshape(count, rows, columns).float()
    shares: Tensor = tallies / tallies.sum(0).clamp_min(1)
    return shares
