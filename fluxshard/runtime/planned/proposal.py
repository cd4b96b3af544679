"""The proposal of an image test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import StateError
from fluxshard.runtime.level_motion import LevelMotion


@dataclass(frozen=True, slots=True, eq=False)
class ShardProposal:
    """The shards that an image test would have recomputed; nothing is decided until the test commits it.

    Attributes:
      shards: `(ceil(H / shard), ceil(W / shard))` bool per level, True where a shard is recomputed.
      motion: that the levels chose; None where all move as the caller says.
    """

    shards: tuple[NDArray[np.bool_], ...]
    motion: LevelMotion | None = None


def stale_proposal() -> StateError:
    """The error of committing what is not the last proposal."""
    return StateError(
        "the proposal is not the last one, or the stream has changed since it was made: propose the frame again, and "
        "commit before the next call of propose(), glance() or focus()"
    )
