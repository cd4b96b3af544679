"""How far a moved result is from a fresh one."""

from __future__ import annotations

import numpy as np

from fluxshard.models.detections.agreement import match, similarity
from fluxshard.models.detections.detections import Detections

_SAME_OBJECT = 0.1  # box IoU: an object that has moved further counts as lost, not as another one


def result_error(moved: Detections, fresh: Detections) -> float:
    """1 less the mean similarity of the objects of both results, weighted by their scores; 0 where there are none.

    An object that is in one of them only has a similarity of 0. Weights make objects that are hardly found, and come
    and go with the network's noise, count little.

    Args:
      moved: the last result, moved to the frame.
      fresh: what the network finds on the frame, with the same size.

    Returns:
      0..1.
    """
    pairs = match(moved, fresh, _SAME_OBJECT)
    total = float(moved.scores.sum(dtype=np.float64) + fresh.scores.sum(dtype=np.float64))
    if not total:
        return 0.0
    alike = sum(
        float(moved.scores[row] + fresh.scores[column]) * similarity(moved, row, fresh, column)
        for row, column, _ in pairs
    )
    return max(0.0, 1 - alike / total)
