"""How much of the dense network's results planned reuse has to keep, and how often that is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fluxshard.errors import OptionError

_LEAST_EVERY = 34  # at most 3% of the frames


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOptions:
    """Online calibration of a stream's thresholds.

    Attributes:
      alpha: share of the dense network's result that is to be kept, above 0 and below 1: the mean similarity (mask IoU,
        OKS or box IoU) of the objects of both results, by score, 0 for those that only one of them has.
      first: frames before the first one that is computed whole.
      every: frames from one that is computed whole to the next, at least 34; up to four times as many while the
        thresholds fit.

    Raises:
      OptionError: a value that is not allowed.
    """

    alpha: float
    first: int = 8
    every: int = 40

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and 0 < self.alpha < 1):
            raise OptionError(f"alpha (={self.alpha}) must be above 0 and below 1")
        if self.first < 1:
            raise OptionError(f"first (={self.first}) must be at least 1")
        if self.every < _LEAST_EVERY:
            raise OptionError(f"every (={self.every}) must be at least {_LEAST_EVERY}: at most 3% of the frames")

    @property
    def budget(self) -> float:
        """Share of the result that may be lost."""
        return round(1 - self.alpha, 12)  # 0.1, not 0.09999999999999998
