"""Detections as answers: made on either endpoint in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fluxshard.cloud.edge.session_parts import DetectionAnswers
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.mask_windows import windowed
from fluxshard.models.loading.loaded_model import HeadLayout
from fluxshard.pipeline.detection_head import DetectionHead


def detection_answers(
    layout: HeadLayout, shape: tuple[int, int], *, confidence: float = 0.25, iou: float = 0.7
) -> DetectionAnswers:
    """How the outputs of a known head become detections.

    Args:
      layout: of the outputs' channels.
      shape: (H, W) of the image.
      confidence: detections must score above.
      iou: of two boxes of a class that overlap by more, the one of lower score is suppressed.
    """
    return DetectionAnswers(confidence=confidence, iou=iou, of=detect_with(layout, shape, confidence, iou))


def detect_with(
    layout: HeadLayout, shape: tuple[int, int], confidence: float, iou: float
) -> Callable[[Any], Detections]:
    """From outputs on the CPU to detections, with masks as windows.

    Args:
      layout, shape, confidence, iou: see `detection_answers`.
    """
    head = DetectionHead(layout, shape, confidence=confidence, iou=iou)
    return lambda outputs: windowed(head(outputs))
