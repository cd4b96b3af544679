"""Decides, frame by frame, whether the last result still does when it is moved, and moves it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.models.detections.advance import advance
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.regions import moved_cells, regions
from fluxshard.motion import CELL_PX, MotionField, accumulate
from fluxshard.pipeline.carrying.error_history import ErrorHistory
from fluxshard.pipeline.carrying.options import SkipOptions
from fluxshard.pipeline.carrying.result_error import result_error
from fluxshard.runtime.planned.image_test import dilate
from fluxshard.runtime.planned.planner import PlannedFrame

_MORE = 1.5  # times the usual change away from objects, from which on a frame may hold something new
_LITTLE = 0.01  # share of the image that may change unexplained anyway

# the coarsest level's shards that a frame would recompute; None where it would be run whole
Glance = Callable[[Tensor, MotionField | None], NDArray[np.bool_] | None]
# the same shards of the frame that was computed last; None where it was run whole
Changed = Callable[[], NDArray[np.bool_] | None]


class ResultCarrier:
    """The results of one stream. A frame is offered to `carry`; one that it does not answer is computed, then `take`n.

    A result is moved where its predicted error is within the budget, and where nothing that motion does not explain
    has changed away from its objects: something new may be there. Errors are measured, not assumed: each time a frame
    is computed, the result before it is moved to that frame and compared.

    Args:
      options: the budget.
      glance: of the session that computes the frames, and runs none that were not offered here.
      confidence: detections that score above it count.
      changed: of the same session, where frames may be computed whose plan is not known; None takes it from the plan.
    """

    def __init__(self, options: SkipOptions, glance: Glance, confidence: float, changed: Changed | None = None) -> None:
        self._options, self._glance, self._confidence, self._changed = options, glance, confidence, changed
        self._moved: Detections | None = None  # the last result, where its objects are in the frame offered last
        self._since: MotionField | None = None
        self._age = 0
        self._errors, self._changes = ErrorHistory(), ErrorHistory()

    @property
    def age(self) -> int:
        """Frames since the last computed one; 0 right after it."""
        return self._age

    @property
    def since(self) -> MotionField | None:
        """Motion since the last computed frame, for the session; None where it is not known, or nothing moved."""
        return self._since

    def carry(self, image: Tensor, motion: MotionField | None) -> Detections | None:
        """Offers the next frame.

        Args:
          image: `(1, 3, H, W)` as the session takes it.
          motion: since the frame that was offered before; None where it is unknown.

        Returns:
          the last result, moved to this frame; None where the frame has to be computed, with the motion `since`.
        """
        self._age += 1
        height, width = image.shape[2:]
        if motion is None or self._moved is None or self._moved.shape != (height, width):
            self._since = self._moved = None  # a result is of no use again before the next frame is computed
            return None
        self._since = motion if self._since is None else accumulate(self._since, motion, height, width)
        moved = self._moved = advance(self._moved, motion)
        if self._age > self._options.most:
            return None
        error, change = self._errors.predict(self._age), self._changes.predict(self._age)
        if error is None or change is None or error > self._options.budget:
            return None
        shards = self._glance(image, self._since)
        if shards is None or self._unexplained(shards, moved) > max(_MORE * change, _LITTLE * self._age):
            return None
        return moved

    def take(self, found: Detections, planned: PlannedFrame | None) -> None:
        """Takes the result of the frame that was offered last, which has been computed.

        Args:
          found: detections in pixels of the image, down to low scores.
          planned: the frame's work; None for policies that do not plan.
        """
        found = found.select(np.flatnonzero(found.scores > self._confidence))
        shards = (None if planned is None else planned.coarsest) if self._changed is None else self._changed()
        if shards is None:
            self._errors.clear()
            self._changes.clear()
        elif self._moved is not None and self._moved.shape == found.shape:
            self._errors.add(result_error(self._moved, found), self._age)
            self._changes.add(self._unexplained(shards, found), self._age)
        self._moved, self._since, self._age = found, None, 0

    def _unexplained(self, shards: NDArray[np.bool_], found: Detections) -> float:
        """Share of shards that would be recomputed and neither hold an object nor are beside one."""
        if not shards.size:
            return 1.0
        marked = moved_cells(found)
        if marked is None:
            marked = regions(found, self._confidence) > 0
        side = -(-max(found.shape[0] // shards.shape[0], 1) // CELL_PX)
        rows, columns = np.nonzero(marked)
        objects = np.zeros_like(shards)
        objects[np.minimum(rows // side, shards.shape[0] - 1), np.minimum(columns // side, shards.shape[1] - 1)] = True
        return float(np.count_nonzero(shards & ~dilate(objects, 1)) / shards.size)
