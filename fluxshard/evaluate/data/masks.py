"""Masks as COCO's compressed run lengths, and detections as objects of a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.data.run_lengths import coco_module, entries
from fluxshard.evaluate.traces.trace import FoundObject
from fluxshard.models.detections.detections import Detections


def found_objects(found: Detections, limit: int) -> tuple[FoundObject, ...]:
    """Converts the `limit` highest-scoring detections to objects of a trace.

    Keypoints without a confidence channel get confidence 1.

    Args:
      found: detections in picture pixels, in descending order of score.
      limit: maximum number of objects.

    Raises:
      EvaluationError: there are masks and pycocotools is not installed.
    """
    objects = []
    height, width = found.shape
    for index in range(min(limit, len(found))):
        mask = None
        if found.masks is not None:
            rows, columns, inside = found.mask(index)
            full = np.zeros((height, width), np.uint8, order="F")
            full[rows.start : rows.stop, columns.start : columns.stop] = inside
            mask = encode(full)
        keypoints = None
        if found.keypoints is not None:
            points = found.keypoints[index]
            if points.shape[1] == 2:
                points = np.pad(points, ((0, 0), (0, 1)), constant_values=1)
            keypoints = tuple(round(float(value), 3) for value in points.ravel())
        x1, y1, x2, y2 = (round(float(value), 3) for value in found.boxes[index])
        objects.append(
            FoundObject(
                category=int(found.classes[index]),
                score=round(float(found.scores[index]), 6),
                box=(x1, y1, x2, y2),
                mask=mask,
                keypoints=keypoints,
            )
        )
    return tuple(objects)


def encode(mask: NDArray[Any]) -> str:
    """Compresses a `(h, w)` mask to COCO run lengths.

    Raises:
      EvaluationError: pycocotools is not installed.
    """
    counts: bytes = coco_module("mask").encode(np.asfortranarray(mask, np.uint8))["counts"]
    return counts.decode("ascii")


def decode(counts: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Expands COCO run lengths to a `(h, w)` bool mask.

    Raises:
      EvaluationError: the run lengths are damaged or of another size, or pycocotools is not installed.
    """
    return np.asarray(coco_module("mask").decode(entries([counts], shape)), np.bool_)[:, :, 0]


def mask_iou(a: Sequence[str], b: Sequence[str], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Pairwise intersection over union of masks.

    Args:
      a, b: COCO run lengths of N and M masks.
      shape: (h, w) of the picture.

    Returns:
      `(N, M)` float64 in 0..1; 0 for two empty masks.

    Raises:
      EvaluationError: the run lengths are damaged or of another size, or pycocotools is not installed.
    """
    if not a or not b:
        return np.zeros((len(a), len(b)))
    both = entries([*a, *b], shape)
    values = np.asarray(coco_module("mask").iou(both[: len(a)], both[len(a) :], [0] * len(b)), np.float64)
    return np.nan_to_num(values)
