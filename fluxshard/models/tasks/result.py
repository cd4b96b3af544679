"""What all results of networks without detections have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

from fluxshard.models.detections.mask_moves import Pair


class TaskResult(Protocol):
    """What a network's outputs say of one frame."""

    def to_picture(self, scale: Pair, offset: Pair, shape: tuple[int, int]) -> Self:
        """The same result for the original picture; see `Detections.to_picture`."""
        ...


# outputs of the network, on the CPU, to what they say, in pixels of what they describe; None where they say nothing
Read = Callable[[Any], TaskResult | None]
