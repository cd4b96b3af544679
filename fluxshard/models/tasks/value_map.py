"""Maps of numbers: depth, heat, and outputs whose meaning is not known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.models.detections.mask_moves import Pair
from fluxshard.models.tasks.maps import maps_among
from fluxshard.models.tasks.placed_map import Placement

_SHOWN_CELLS = 192  # cells along the shorter side that are looked at: more are not seen in a picture
_BEYOND = 0.02  # share of the values beyond the range on either side: single ones do not set the scale


@dataclass(frozen=True, slots=True, eq=False)
class ValueMap:
    """One map of numbers.

    Attributes:
      values: `(C, h, w)` float32, on the CPU.
      placement: of the map in the picture.
    """

    values: Tensor
    placement: Placement

    def to_picture(self, scale: Pair, offset: Pair, shape: tuple[int, int]) -> ValueMap:
        """The same map in another picture; see `Detections.to_picture`."""
        return replace(self, placement=self.placement.of_picture(scale, offset))

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
        if not maps:
            return None
        largest = max(maps, key=lambda tensor: tensor.shape[-2] * tensor.shape[-1])
        return ValueMap(largest.detach().reshape(-1, *largest.shape[-2:]), Placement(self.shape))


def range_of(values: NDArray[np.float32]) -> tuple[float, float] | None:
    """Range of the finite values but for the outermost; None where no value is finite."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = np.quantile(finite, (_BEYOND, 1 - _BEYOND))
    return float(low), float(high)
