"""A detector's head at given thresholds: from a network's outputs to detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.loaded_model import HeadLayout


@dataclass(frozen=True, slots=True)
class DetectionHead:
    """Decodes outputs of one layout and size; call it with the outputs.

    Attributes:
      layout: of the outputs' channels.
      shape: (H, W) of what the outputs describe: the image, or the canvas.
      confidence: detections must score above.
      iou: of two boxes of a class that overlap by more, the one of lower score is suppressed.
      owns: outputs are tensors of their own that nobody writes to afterwards, as a session returns them: masks keep the
        prototypes, and not a copy.
    """

    layout: HeadLayout
    shape: tuple[int, int]
    confidence: float = 0.25
    iou: float = 0.7
    owns: bool = False

    def __call__(self, outputs: Any) -> Detections:
        """Detections in pixels of `shape`, by falling score.

        Raises:
          ModelError: the outputs do not have the shape that the layout says.
        """
        return decode(outputs, self.layout, self.shape, confidence=self.confidence, iou=self.iou, owns=self.owns)
