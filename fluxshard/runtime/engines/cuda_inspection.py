"""Masks, slot maps and features in a stream's device memory, as arrays on the host. Reading waits for the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.ir.plan import Plan
from fluxshard.ir.stream_layout import Ptr, Store, StreamLayout
from fluxshard.runtime.engines.engine import Mask

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def view(arena: Tensor, offset: int, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """A part of a stream's memory as a tensor.

    Args:
      arena: the memory, as bytes.
      offset: of the part, in bytes.
      dtype, shape: of the tensor.
    """
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    return arena[offset : offset + n_bytes].view(dtype).view(tuple(shape))


@dataclass(frozen=True, slots=True)
class CudaInspection:
    """See `Inspection`.

    Attributes:
      plan: of the program.
      layout: where everything lies.
      arena: the stream's memory.
      parity: of the maps that the last frame left.
      planned: the last frame's cells and maps are those of the grids.
    """

    plan: Plan
    layout: StreamLayout
    arena: Tensor
    parity: int
    planned: bool

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.plan!r})"

    @property
    def rows_in_place(self) -> bool:
        """See `Inspection.rows_in_place`."""
        return False

    def input_mask(self) -> Mask:
        """See `Inspection.input_mask`."""
        return self._mask(self.layout.image_mask, 0)

    def candidates(self, layer: str) -> Mask | None:
        """See `Inspection.candidates`."""
        spec = self.plan.layer(layer)
        if spec.mode != "sparse":
            return None
        store = self.layout.stores[spec.output]
        return self._mask(self._planned_cells(store) or store.candidates, store.grid)

    def mask(self, value: str) -> Mask | None:
        """See `Inspection.mask`."""
        store = self.layout.stores.get(value)
        return None if store is None else self._mask(self._planned_cells(store) or store.mask, store.grid)

    def slots(self, value: str) -> NDArray[np.int32] | None:
        """See `Inspection.slots`."""
        store = self.layout.stores.get(value)
        if store is None:
            return None
        grid = self.plan.grids[store.grid]
        where = self.layout.maps_of(store, self.planned)[self.parity]
        found: NDArray[np.int32] = view(self.arena, where.offset, torch.int32, (grid.height, grid.width)).cpu().numpy()
        return found.copy()

    def value(self, value: str) -> Tensor | None:
        """See `Inspection.value`; float32 whatever is stored."""
        store, slots = self.layout.stores.get(value), self.slots(value)
        if store is None or slots is None:
            return None
        dtype = _DTYPES[self.layout.target.dtype]
        pool = view(self.arena, store.pool.offset, dtype, (2 * slots.size, store.stride)).cpu()
        rows = pool[torch.from_numpy(slots.ravel()).long(), : store.channels].float()
        return rows.T.contiguous().view(1, store.channels, *slots.shape)

    def _planned_cells(self, store: Store) -> Ptr | None:
        """Candidates of the grid, where they are also the store's candidates and mask."""
        return self.layout.grids[store.grid].candidates if self.layout.shares_maps(store, self.planned) else None

    def _mask(self, where: Ptr, grid: int) -> Mask:
        shape = self.plan.grids[grid].height, self.plan.grids[grid].width
        found: Mask = view(self.arena, where.offset, torch.uint8, shape).cpu().numpy() != 0
        return found
