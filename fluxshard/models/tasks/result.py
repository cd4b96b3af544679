"""What all results of networks without detections have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from fluxshard.models.detections.mask_moves import Pair


class TaskResult(Protocol):
    """What a network's outputs say of one frame: a map of classes, a ranking of classes, a map of numbers."""

    def to_picture(self, scale: Pair, offset: Pair, shape: tuple[int, int]) -> Self:
        """The same result for the original picture; see `Detections.to_picture`."""
        ...

    def agreement(self, reference: Self) -> Mapping[str, float | None]:
        """How this compares with another result on the same frame, by measure; None where there is nothing to compare.

        Args:
          reference: of the dense network.
        """
        ...

    def as_json(self, names: tuple[str, ...]) -> Mapping[str, Any]:
        """What a line of records holds of it.

        Args:
          names: class names; a class without one is called by its number.
        """
        ...


# outputs of the network, on the CPU, to what they say, in pixels of what they describe; None where they say nothing
Read = Callable[[Any], TaskResult | None]


def name_of(index: int, names: tuple[str, ...]) -> str:
    """Name of a class; its number where it has none."""
    return names[index] if 0 <= index < len(names) else str(index)
