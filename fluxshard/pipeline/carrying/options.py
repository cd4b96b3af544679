"""How much error a result may gather before a frame is computed again."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fluxshard.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipOptions:
    """When frames are answered by moving the last computed result along the motion.

    Attributes:
      budget: largest predicted error of a moved result, 0..1: 1 less the similarity (mask IoU, OKS or box IoU) to what
        computing the frame would give, averaged over objects by score. 0 computes every frame.
      most: frames in a row that may be answered so.

    Raises:
      OptionError: a value that is not allowed.
    """

    budget: float = 0.0
    most: int = 3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.budget) and 0 <= self.budget <= 1):
            raise OptionError(f"skip budget (={self.budget}) must be between 0 and 1")
        if self.most < 0:
            raise OptionError(f"max_skip (={self.most}) must be at least 0")
