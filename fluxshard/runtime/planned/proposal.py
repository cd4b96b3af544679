"""The proposal of an image test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import StateError
from fluxshard.runtime.level_motion import LevelMotion


@dataclass(frozen=True, slots=True, eq=False)
class GridWork:
    """Cells that the layers of a frame recompute; `ShardWork` defines them.

    Attributes:
      masks: `(H, W)` bool per index of `Plan.grids`; of the image, and of every grid that features live on.
      evaluated: how many cells that are, per index of `Plan.grids` up to the last that has a mask; 0 where none is.
      moves: whether cells of a grid, given by its index, move or have no source.
    """

    masks: Mapping[int, NDArray[np.bool_]]
    evaluated: NDArray[np.int64]
    moves: Callable[[int], bool]


@dataclass(frozen=True, slots=True, eq=False)
class ShardProposal:
    """The shards that an image test would have recomputed; nothing is decided until the test commits it.

    Attributes:
      shards: `(ceil(H / shard), ceil(W / shard))` bool per level, True where a shard is recomputed.
      motion: that the levels chose; None where all move as the caller says.
      work: cells that follow from both, where the test has found them as well; None: `ShardWork` has them.
    """

    shards: tuple[NDArray[np.bool_], ...]
    motion: LevelMotion | None = None
    work: GridWork | None = None


def stale_proposal() -> StateError:
    """The error of committing what is not the last proposal."""
    return StateError(
        "the proposal is not the last one, or the stream has changed since it was made: propose the frame again, and "
        "commit before the next call of propose(), glance() or focus()"
    )
