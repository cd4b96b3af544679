"""Maps of numbers: depth, heat, and outputs whose meaning is not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ModelError
from fluxshard.models.detections.mask_moves import Pair
from fluxshard.models.tasks.maps import maps_among, shapes_of
from fluxshard.models.tasks.placed_map import Placement

_SHOWN_CELLS = 192  # cells along the shorter side that are looked at: more are not seen in a picture
_FACTOR = 1.25  # between depths that count as the same
_BEYOND = 0.02  # share of the values beyond the range on either side: single ones do not set the scale


@dataclass(frozen=True, slots=True, eq=False)
class ValueMap:
    """One map of numbers.

    Attributes:
      values: `(C, h, w)` float32, on the CPU.
      placement: of the map in the picture.
      shape: (H, W) of the picture.
    """

    values: Tensor
    placement: Placement
    shape: tuple[int, int]

    def to_picture(self, scale: Pair, offset: Pair, shape: tuple[int, int]) -> ValueMap:
        """The same map in another picture; see `Detections.to_picture`."""
        return replace(self, placement=self.placement.of_picture(scale, offset), shape=shape)

    def cropped(self) -> Tensor:
        """Values of the cells that the picture covers, `(C, h, w)` float32: of all that it covers at least half."""
        rows, columns = self.placement.cells(self.values.shape[1:], self.shape)
        return self.values[:, rows.start : rows.stop, columns.start : columns.stop].float()

    def agreement(self, reference: ValueMap) -> Mapping[str, float | None]:
        """Errors over the cells where both maps are finite, those of all channels together.

        `relative_error`: root mean square of the differences over the standard deviation of the reference; and of maps
        of one channel without values below or at 0, as depths are, `depth_error`: mean of the differences over the
        reference, and `delta1`: share of the cells with less than a factor of 1.25 between both.
        """
        found, expected = self.cropped(), reference.cropped()
        errors: dict[str, float | None] = {"relative_error": None, "depth_error": None, "delta1": None}
        if found.shape != expected.shape or not found.numel():  # of a canvas that begins within a cell
            return errors
        known = torch.isfinite(found) & torch.isfinite(expected)
        found, expected = found[known], expected[known]
        if not len(expected):
            return errors
        spread = float(expected.std(correction=0))
        if spread > 0:
            errors["relative_error"] = float((found - expected).square().mean().sqrt()) / spread
        if len(self.values) == 1 and float(expected.min()) > 0 and float(found.min()) > 0:
            errors["depth_error"] = float(((found - expected).abs() / expected).mean())
            errors["delta1"] = float((torch.maximum(found / expected, expected / found) < _FACTOR).float().mean())
        return errors

    def as_json(self, names: tuple[str, ...]) -> Mapping[str, Any]:
        """`values`: channels, rows and columns over the picture, and the least, mean and largest finite value."""
        values = self.cropped()
        finite = values[torch.isfinite(values)]
        figures = [None] * 3 if not len(finite) else [float(finite.min()), float(finite.mean()), float(finite.max())]
        return {"values": {"size": list(values.shape), **dict(zip(("min", "mean", "max"), figures, strict=True))}}

    def shown(self) -> NDArray[np.float32]:
        """What a picture shows of the map: `(h, w)` float32, every n-th cell of large maps.

        Of one channel the values; of more, how far they are from what each channel is on average: the root mean square
        over the channels.
        """
        step = max(1, min(self.values.shape[1:]) // _SHOWN_CELLS)
        values = self.values[:, ::step, ::step].float()
        if len(values) > 1:
            values = (values - values.mean((1, 2), keepdim=True)).square().mean(0, keepdim=True).sqrt()
        shown: NDArray[np.float32] = values[0].numpy()
        return shown


@dataclass(frozen=True, slots=True)
class ValueHead:
    """Takes the map with the most cells, the first of equals; call it with the outputs.

    Attributes:
      shape: (H, W) of what the outputs describe: the image, or the canvas.
    """

    shape: tuple[int, int]

    def __call__(self, outputs: Any) -> ValueMap | None:
        """The map; None where no output is one (see `maps_among`).

        Args:
          outputs: of any structure, on the CPU.
        """
        maps = [tensor for tensor in maps_among(outputs, self.shape) if tensor.dtype != torch.bool]
        return _largest(maps, self.shape)


@dataclass(frozen=True, slots=True)
class DepthHead:
    """Takes the map of one channel with the most cells, the first of equals; call it with the outputs.

    Attributes:
      shape: (H, W) of what the outputs describe: the image, or the canvas.
    """

    shape: tuple[int, int]

    def __call__(self, outputs: Any) -> ValueMap:
        """The map.

        Args:
          outputs: of any structure, on the CPU.

        Raises:
          ModelError: no output is a map of one channel of floating numbers.
        """
        found = _largest(
            [
                tensor
                for tensor in maps_among(outputs, self.shape)
                if tensor.is_floating_point() and tensor.numel() == tensor.shape[-2] * tensor.shape[-1]
            ],
            self.shape,
        )
        if found is None:
            raise ModelError(
                f"outputs are {shapes_of(outputs)}, and none is a map (1, 1, h, w) of an image of "
                f"{self.shape[0]}x{self.shape[1]}: give --task raw, or a network with one value for every place"
            )
        return found


def _largest(maps: list[Tensor], shape: tuple[int, int]) -> ValueMap | None:
    if not maps:
        return None
    largest = max(maps, key=lambda tensor: tensor.shape[-2] * tensor.shape[-1])
    return ValueMap(largest.detach().reshape(-1, *largest.shape[-2:]), Placement(shape), shape)


def range_of(values: NDArray[np.float32]) -> tuple[float, float] | None:
    """Range of the finite values but for the outermost; None where no value is finite."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = np.quantile(finite, (_BEYOND, 1 - _BEYOND))
    return float(low), float(high)
