"""Accuracy against the exact truth: mean IoU of the class maps, F1 of the detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from examples.street.model import Detection, box_iou
from examples.street.scene import CLASSES, SceneObject

LEAST_VISIBLE_PX = 60
LEAST_VISIBLE_SHARE = 0.35


def counts_as_target(thing: SceneObject) -> bool:
    """False for objects that are hidden for the most part: finding or missing them counts neither way."""
    return thing.visible_px >= LEAST_VISIBLE_PX and thing.visible_share >= LEAST_VISIBLE_SHARE


@dataclass
class Score:
    """Adds up frames.

    Attributes:
      confusion: pixels `(truth, prediction)`.
      hits, misses, false_alarms: detections at IoU 0.5.
    """

    confusion: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(CLASSES), len(CLASSES)), np.int64))
    hits: int = 0
    misses: int = 0
    false_alarms: int = 0

    def add(
        self,
        truth: NDArray[np.uint8],
        predicted: NDArray[np.uint8],
        objects: Sequence[SceneObject],
        found: Sequence[Detection],
    ) -> None:
        """Adds a frame: class maps `(H, W)`, true objects and detections."""
        pairs = truth.astype(np.int64) * len(CLASSES) + predicted
        self.confusion += np.bincount(pairs.ravel(), minlength=len(CLASSES) ** 2).reshape(self.confusion.shape)
        left = list(objects)
        for detection in sorted(found, key=lambda d: -d.score):
            candidates = [o for o in left if o.label == detection.label]
            best = max(candidates, key=lambda o: (box_iou(o.box, detection.box), counts_as_target(o)), default=None)
            if best is None or box_iou(best.box, detection.box) < 0.5:
                self.false_alarms += 1
                continue
            left.remove(best)
            self.hits += counts_as_target(best)
        self.misses += sum(counts_as_target(o) for o in left)

    @property
    def class_iou(self) -> dict[str, float]:
        """IoU of each class that the truth or the prediction has."""
        hit = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - hit
        return {name: float(hit[k] / union[k]) for k, name in enumerate(CLASSES) if union[k]}

    @property
    def mean_iou(self) -> float:
        """Mean of `class_iou`."""
        return float(np.mean(list(self.class_iou.values()))) if self.confusion.any() else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall of the detections."""
        total = 2 * self.hits + self.misses + self.false_alarms
        return 2 * self.hits / total if total else 1.0
