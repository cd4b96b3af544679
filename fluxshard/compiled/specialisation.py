"""What a compiled model has for one image size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fluxshard.compiled.lowered import Lowered
from fluxshard.runtime.stream import Program


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Specialisation:
    """All that belongs to one image size.

    Attributes:
      program: runs it.
      lowered: what it was generated from.
      notes: by layer, why it does not run as planned.
    """

    program: Program
    lowered: Lowered
    notes: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Specialisation({self.lowered.plan!r})"

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Weights of the plan by name."""
        return self.lowered.weights
