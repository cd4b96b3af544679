"""Average precision of a trace with the dense network's objects as ground truth.

Source: the COCO evaluation (Lin et al., ECCV 2014), by pycocotools' `COCOeval`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from fluxshard.evaluate.data.run_lengths import coco_module, entries
from fluxshard.evaluate.traces.trace import FoundObject, Trace
from fluxshard.models.detections.agreement import BOX_TO_AREA, COCO_SIGMAS, VISIBLE

MAX_DETECTIONS = 100  # per image and class, COCO's largest maxDets


def average_precision(trace: Trace, dense: Trace, confidence: float) -> float | None:
    """AP averaged over similarity thresholds 0.50:0.05:0.95, by OKS, mask IoU or box IoU, as the task has it.

    All objects of the trace are predictions; the dense network's objects that score above `confidence` are the ground
    truth. The first frame is excluded. As in COCO, classes without ground truth do not count, nor do poses without a
    visible keypoint; an object with an empty mask can only be missed.

    Args:
      trace: trace of the method.
      dense: trace of the dense network on the same frames.
      confidence: smallest score of a ground-truth object, exclusive.

    Returns:
      AP in 0..1; None without ground truth.

    Raises:
      EvaluationError: masks are damaged or of another size, or pycocotools is not installed.
    """
    truth = [
        (number, one)
        for number, frame in enumerate(dense.frames)
        for one in frame.objects
        if number and one.score > confidence
    ]
    if not truth:
        return None
    kind = _kind(truth[0][1])
    found = [(number, one) for number, frame in enumerate(trace.frames) for one in frame.objects if number]
    coco, cocoeval = coco_module("coco").COCO, coco_module("cocoeval").COCOeval
    height, width = trace.picture_size
    images = [{"id": number, "height": height, "width": width} for number in range(1, len(trace.frames))]
    categories = sorted({one.category for _, one in (*truth, *found)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth_dataset, predictions = coco(), coco()
        for index, objects in ((truth_dataset, truth), (predictions, found)):
            index.dataset = {
                "info": {},
                "images": images,
                "categories": [{"id": category, "name": str(category)} for category in categories],
                "annotations": _annotations(objects, (height, width)),
            }
            index.createIndex()
        evaluation = cocoeval(truth_dataset, predictions, kind)
        evaluation.params.maxDets = [20] if kind == "keypoints" else [1, 10, MAX_DETECTIONS]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        if kind == "keypoints":
            points = len(truth[0][1].keypoints or ()) // 3
            sigmas = COCO_SIGMAS if points == len(COCO_SIGMAS) else (1 / points,) * points
            evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else None


def _kind(one: FoundObject) -> str:
    """`COCOeval`'s iouType."""
    return "keypoints" if one.keypoints is not None else "segm" if one.mask is not None else "bbox"


def _annotations(objects: Sequence[tuple[int, FoundObject]], size: tuple[int, int]) -> list[dict[str, Any]]:
    """COCO annotations of (image, object) pairs."""
    masks = iter(entries([one.mask for _, one in objects if one.mask is not None], size))
    return [
        _entry(identity, image, one, None if one.mask is None else next(masks))
        for identity, (image, one) in enumerate(objects, start=1)  # COCOeval reads the id 0 as no match
    ]


def _entry(identity: int, image: int, one: FoundObject, mask: dict[str, Any] | None) -> dict[str, Any]:
    """One COCO annotation; keypoints below `VISIBLE` are unlabelled (v = 0)."""
    x1, y1, x2, y2 = one.box
    area = max((x2 - x1) * (y2 - y1), 1.0)
    entry: dict[str, Any] = {
        "id": identity,
        "image_id": image,
        "category_id": one.category,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": area,
        "iscrowd": 0,
        "score": one.score,
    }
    if mask is not None:
        entry["segmentation"] = mask
    if one.keypoints is not None:
        points = np.asarray(one.keypoints, np.float64).reshape(-1, 3).copy()
        seen = points[:, 2] >= VISIBLE
        points[:, 2] = np.where(seen, 2, 0)
        entry |= {"keypoints": points.ravel().tolist(), "num_keypoints": int(seen.sum()), "area": area * BOX_TO_AREA}
    return entry
