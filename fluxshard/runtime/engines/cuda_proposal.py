"""What a proposal has decided and left on a device: masks and motion that the host reads only if somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import MotionField
from fluxshard.runtime.level_motion import LevelMotion

Mask = NDArray[np.bool_]
Fields = tuple[MotionField, tuple[MotionField, ...]]  # of the image; of levels


class DeviceWork(Mapping[int, Mask]):
    """Cells to recompute per grid, `(H, W)` bool; reading one copies it from the device and waits.

    Args:
      tensor: bytes on the device.
      places: by index of `Plan.grids`, where in these bytes its cells lie, and their (rows, columns).
      read: a copy of bytes at an offset, in a shape.

    Attributes:
      tensor: as given; whoever uses addresses keeps it.
    """

    def __init__(
        self, tensor: Tensor, places: Mapping[int, tuple[int, tuple[int, int]]],
        read: Callable[[int, Sequence[int]], Mask],
    ) -> None:  # fmt: skip
        self.tensor = tensor
        self._places, self._read = places, read
        self._seen: dict[int, Mask] = {}

    def address(self, grid: int) -> int:
        """Where a grid's cells lie on the device."""
        return self.tensor.data_ptr() + self._places[grid][0]

    def __getitem__(self, grid: int) -> Mask:
        if grid not in self._seen:
            self._seen[grid] = self._read(*self._places[grid])
        return self._seen[grid]

    def __contains__(self, grid: object) -> bool:
        return grid in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceFields:
    """Motion fields on a device, the image's first.

    Attributes:
      held: tensors that the addresses point into; whoever uses these keeps them.
      cells: (rows, columns) of 8 px.
      moved, sourced: addresses of int16 `(fields, rows, columns, 2)`, and of uint8 `(fields, rows, columns)`.
      starts: address of where every grid of the plan begins in these, int32, in cells.
    """

    held: tuple[Tensor, ...]
    cells: tuple[int, int]
    moved: int
    sourced: int
    starts: int


class DeviceMotion(LevelMotion):
    """Motion fields on the device; reading one copies all of them and waits.

    Args:
      level_of: see `LevelMotion`.
      on_device: the fields.
      fetch: copies of them, of the image and of the levels.
    """

    __slots__ = ("_fetch", "on_device")
    on_device: DeviceFields
    _fetch: Callable[[], Fields]

    def __init__(self, level_of: tuple[int | None, ...], on_device: DeviceFields, fetch: Callable[[], Fields]) -> None:
        for name, value in (("level_of", level_of), ("on_device", on_device), ("_fetch", cache(fetch))):
            object.__setattr__(self, name, value)  # it is as frozen as what it stands for

    @property
    def image(self) -> MotionField:
        """See `LevelMotion`."""
        return self._fetch()[0]

    @property
    def levels(self) -> tuple[MotionField, ...]:
        """See `LevelMotion`."""
        return self._fetch()[1]
