"""How many workers there should be, from the load that was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fluxshard.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOptions:
    """When workers come and go.

    Attributes:
      least: workers that there always are.
      most: workers that there may be.
      high: load, as a share of what workers can do, above which there is one more.
      low: load that the others would have to stay below for one to go.
      out_s: for which the load has to be high; a worker takes seconds to start.
      in_s: for which it has to be low; a worker that goes costs each of its streams a keyframe.

    Raises:
      OptionError: a value that is not allowed.
    """

    least: int = 1
    most: int = 1
    high: float = 0.75
    low: float = 0.5
    out_s: float = 5.0
    in_s: float = 300.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise OptionError(f"workers (={self.least}:{self.most}) must be at least 1, the smaller number first")
        if not 0 < self.low < self.high <= 1:
            raise OptionError(
                f"low (={self.low:g}) and high (={self.high:g}) must be above 0, at most 1, low below high"
            )
        if not all(math.isfinite(value) and value >= 0 for value in (self.out_s, self.in_s)):
            raise OptionError(f"out_s (={self.out_s:g}) and in_s (={self.in_s:g}) must be finite numbers >= 0")


class Scaler:
    """Decides on the number of workers; ask it at every report.

    Args:
      options: when they come and go.
    """

    def __init__(self, options: ScaleOptions) -> None:
        self._options = options
        self._high_since: float | None = None
        self._low_since: float | None = None

    def wanted(self, loads: Sequence[float], starting: int, now: float) -> int:
        """How many workers there should be.

        Args:
          loads: of workers that take streams: the share of their time, or of their slots, whichever is larger.
          starting: workers that are about to be there.
          now: on any clock that does not go back.

        Returns:
          a number from `least` to `most` that differs by at most one from what there is, once that is within them.
        """
        options, count = self._options, len(loads) + starting
        if count < options.least or count > options.most:
            self._high_since = self._low_since = None
            return options.least if count < options.least else options.most
        total = sum(loads)
        is_high = total > options.high * count
        is_low = count > options.least and total < options.low * (count - 1)
        self._high_since = _since(self._high_since, is_high, now)
        self._low_since = _since(self._low_since, is_low, now)
        if self._high_since is not None and now - self._high_since >= options.out_s and count < options.most:
            self._high_since = None
            return count + 1
        if self._low_since is not None and now - self._low_since >= options.in_s and not starting:
            self._low_since = None
            return count - 1
        return count


def _since(before: float | None, is_so: bool, now: float) -> float | None:
    if not is_so:
        return None
    return now if before is None else before
