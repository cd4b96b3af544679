"""One factor on all thresholds, from what reuse was seen to cost at other factors."""

from __future__ import annotations

import math
from collections import deque

LEAST, MOST = 0.25, 2.5  # beyond, thresholds have not been tried
USUAL_ERROR = 0.1  # of the shipped thresholds, over many clips
_LEAST_ERROR = 0.005  # one frame that happens to be right does not promise more
_REMEMBERED = 4
_UP, _DOWN = 1.5, 0.4  # largest steps: too much work is the smaller harm


class ThresholdScale:
    """Follows a budget. Errors grow about in proportion to the thresholds, as measured over many clips.

    It starts where the shipped thresholds would meet the budget on a usual clip, and never above these.

    Args:
      budget: error that may be made, 0..1.
    """

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)  # log(error / scale)
        self._scale = min(1.0, max(LEAST, budget / USUAL_ERROR))

    @property
    def value(self) -> float:
        """The factor."""
        return self._scale

    def take(self, error: float) -> float:
        """Takes the error of a frame that was computed with thresholds of this scale.

        Returns:
          the factor by which the scale has changed.
        """
        self._rates.append(math.log(max(error, _LEAST_ERROR) / self._scale))
        wanted = self._budget / math.exp(sum(self._rates) / len(self._rates))
        before = self._scale
        step = min(_UP, max(_DOWN, wanted / before))
        self._scale = min(MOST, max(LEAST, before * step))
        return self._scale / before
