"""Scores a trace against annotations and against the dense network on the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.masks import mask_iou
from fluxshard.evaluate.metrics.average_precision import average_precision
from fluxshard.evaluate.metrics.clip_scores import ClipScores, FrameScores
from fluxshard.evaluate.metrics.discovery import discovery_frames
from fluxshard.evaluate.metrics.search_accuracy import box_overlaps, mean_jaccard, similarities
from fluxshard.evaluate.metrics.teacher_overlap import teacher_overlap
from fluxshard.evaluate.traces.trace import FoundObject, Trace, TracedFrame
from fluxshard.models.detections.agreement import best_pairs

MATCHED = 0.5  # smallest box IoU of matched detections
LEAST_FRAMES_OF_DRIFT = 10


def score(
    trace: Trace,
    dense: Trace | None,
    annotations: Sequence[str | None] | None,
    *,
    teacher: Trace | None = None,
    confidence: float = 0.25,
) -> ClipScores:
    """Scores a trace; `ClipScores` and `FrameScores` define the metrics.

    Models without masks have no J. In a frame without confident detections of the dense network, miou and oks are None,
    and f1 is 0 if the method detects something, else None.

    Args:
      trace: trace of the method.
      dense: trace of the dense network on the same clip; None omits the metrics against it.
      annotations: COCO run lengths of the annotated object per frame, None for frames without; None without
        annotations.
      teacher: trace of a stronger network on the same clip; None without one.
      confidence: confident objects score above it.

    Raises:
      EvaluationError: traces or annotations differ in clip, number of frames or picture size, masks are damaged, or
        pycocotools is not installed.
    """
    _check(trace, dense, annotations)
    if teacher is not None:
        _check(trace, teacher, None)
    has_masks = _has_masks(trace, dense)
    frames = []
    for number, frame in enumerate(trace.frames):
        annotation = annotations[number] if annotations is not None and has_masks else None
        theirs = None if dense is None else dense.frames[number].objects
        scores = _frame(frame, theirs, annotation, trace.picture_size, confidence)
        if teacher is not None:
            found = [one for one in frame.objects if one.score > confidence]
            overlap = teacher_overlap(found, teacher.frames[number].objects, trace.picture_size)
            scores = replace(scores, teacher=overlap)
        frames.append(scores)
    counted = frames[1:]
    poses = any(frame.oks is not None for frame in counted)
    return ClipScores(
        clip=trace.clip,
        method=trace.method,
        facts=trace.facts,
        frames=tuple(frames),
        compute_ratio=_mean([frame.compute_ratio for frame in counted]),
        recompute_ratio=_mean([frame.recompute_ratio for frame in counted]),
        tx_ratio=_mean([frame.tx_ratio for frame in counted]),
        latency_ms=float(np.median([frame.latency_ms for frame in counted])) if counted else float("nan"),
        jaccard=_mean_defined([frame.jaccard for frame in counted]),
        mean_jaccard=_mean_defined([frame.mean_jaccard for frame in counted]),
        miou=_mean_defined([frame.miou for frame in counted]),
        oks=_mean_defined([frame.oks for frame in counted]),
        f1=_mean_defined([frame.f1 for frame in counted]),
        teacher=_mean_defined([frame.teacher for frame in counted]),
        ap=None if dense is None else average_precision(trace, dense, confidence),
        discovery_frames=() if dense is None else discovery_frames(trace, dense, confidence),
        drift=_drift([frame.oks if poses else frame.miou for frame in counted]),
    )


def _check(trace: Trace, dense: Trace | None, annotations: Sequence[str | None] | None) -> None:
    """Checks that all inputs are of the same frames."""
    if dense is not None:
        mine, theirs = ((one.clip, len(one.frames), one.picture_size) for one in (trace, dense))
        if mine != theirs:
            raise EvaluationError(
                f"trace of {trace.method!r} is of {mine} (clip, frames, picture) and that of the dense network of "
                f"{theirs}; they must be of the same frames: evaluate both again"
            )
    if annotations is not None and len(annotations) != len(trace.frames):
        raise EvaluationError(
            f"clip {trace.clip!r} has {len(trace.frames)} frames and {len(annotations)} annotations; expected as many"
        )


def _has_masks(trace: Trace, dense: Trace | None) -> bool:
    """Whether the model predicts masks, over the whole clip: frames without objects do not tell."""
    traces = (trace,) if dense is None else (trace, dense)
    return all(one.mask is not None for of in traces for frame in of.frames for one in frame.objects)


def _frame(
    frame: TracedFrame,
    dense: Sequence[FoundObject] | None,
    annotation: str | None,
    size: tuple[int, int],
    confidence: float,
) -> FrameScores:
    """Scores of one frame; `dense` and `annotation` are None without that reference."""
    found = [one for one in frame.objects if one.score > confidence]
    theirs = None if dense is None else [one for one in dense if one.score > confidence]
    miou, oks, f1 = (None, None, None) if theirs is None else _against(found, theirs, size)
    return FrameScores(
        compute_ratio=frame.compute_ratio,
        recompute_ratio=frame.recompute_ratio,
        tx_ratio=frame.tx_ratio,
        latency_ms=frame.latency_ms,
        motion_px=frame.motion_px,
        keyframe=frame.keyframe,
        jaccard=_jaccard(found, annotation, size),
        mean_jaccard=None if annotation is None else mean_jaccard(frame.objects, annotation, size),
        miou=miou,
        oks=oks,
        f1=f1,
    )


def _jaccard(found: Sequence[FoundObject], annotation: str | None, size: tuple[int, int]) -> float | None:
    """J of one frame."""
    if annotation is None:
        return None
    masks = [str(one.mask) for one in found]
    return float(mask_iou(masks, [annotation], size).max()) if masks else 0.0


def _against(
    found: Sequence[FoundObject], dense: Sequence[FoundObject], size: tuple[int, int]
) -> tuple[float | None, float | None, float | None]:
    """(miou, oks, f1) of one frame; without dense detections only f1, and only if the method detects something."""
    if not dense:
        return None, None, (0.0 if found else None)
    if not found:
        poses = dense[0].keypoints is not None
        return 0.0, (0.0 if poses else None), 0.0
    values = similarities(found, dense, size)
    overlap = box_overlaps(found, dense)
    f1 = 2 * len(best_pairs(overlap, MATCHED)) / (len(found) + len(dense))
    if dense[0].keypoints is not None:
        return float(overlap.max(0).mean()), float(values.max(0).mean()), f1
    return float(values.max(0).mean()), None, f1


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _mean_defined(values: Sequence[float | None]) -> float | None:
    """Mean over frames with a value; None without any."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _drift(values: Sequence[float | None]) -> float | None:
    """Slope per 100 frames, by least squares over the frames with a value."""
    defined = [(number, value) for number, value in enumerate(values) if value is not None]
    if len(values) + 1 < LEAST_FRAMES_OF_DRIFT or len(defined) < 2:
        return None
    x, y = np.asarray(defined, np.float64).T
    x = x - x.mean()
    return float(100 * (x @ (y - y.mean())) / (x @ x))
