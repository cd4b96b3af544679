"""Accuracy against a stronger network's objects, where nobody has annotated all of them.

Source: section V-A of the FluxShard paper, whose pseudo-truth is a larger network of the same family.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxshard.evaluate.metrics.search_accuracy import similarities
from fluxshard.evaluate.traces.trace import FoundObject

CERTAIN = 0.4  # the teacher's objects of a lower score are not counted


def teacher_overlap(
    found: Sequence[FoundObject], teacher: Sequence[FoundObject], size: tuple[int, int]
) -> float | None:
    """Mean over the teacher's certain objects of the largest overlap with an object of the same class, 0 where missed.

    Args:
      found: the method's confident objects.
      teacher: all objects of the teacher on the same frame.
      size: (h, w) of the picture.

    Returns:
      0..1: of masks, of keypoints (OKS) or of boxes, the first that all objects have; None where the teacher is certain
      of nothing.

    Raises:
      EvaluationError: masks are damaged or of another size, or pycocotools is not installed.
    """
    theirs = [one for one in teacher if one.score > CERTAIN]
    if not theirs:
        return None
    if not found:
        return 0.0
    return float(similarities(found, theirs, size).max(0).mean())
