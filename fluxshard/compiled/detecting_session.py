"""A session that says what is in its frames, and tells planned reuse where."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from fluxshard.compiled.outputs import Placing, decoded, head_of, in_picture, placing_of
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.regions import regions
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions, check_share
from fluxshard.runtime.checked_image import Picture
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program


class DetectingSession(Session):
    """See `Session`. Made by `CompiledModel.session`.

    Args:
      program_for, reuse, keep_all: see `Session`.
      loaded: what is known of the model's outputs.
      canvas_px: by how much the canvas is larger than the image, per axis.
    """

    def __init__(
        self,
        program_for: Callable[[Tensor], Program],
        reuse: ReuseOptions,
        loaded: LoadedModel | None,
        *,
        canvas_px: int = 0,
        keep_all: bool = False,
    ) -> None:
        super().__init__(program_for, reuse, keep_all=keep_all)
        self._loaded, self._canvas_px = loaded, canvas_px

    def detect(
        self,
        image: Picture,
        motion: MotionField | None = None,
        letterbox: Placing | None = None,
        *,
        confidence: float = 0.25,
        iou: float = 0.7,
    ) -> Detections:
        """Runs one frame, says what is in it, and focuses the session on it, for models whose outputs are known.

        That is what `fluxshard run` does. `run` alone does not tell planned reuse where the objects are: then all of
        the image counts as near one, and far more is recomputed.

        Args:
          image, motion: as for `run`.
          letterbox: that made the image; None takes that of a frame of `fluxshard.video`.
          confidence: detections score above. Regions are from lower scores on: `PlannedOptions.region_confidence`.
          iou: of two boxes of a class that overlap by more, the one of lower score is suppressed.

        Returns:
          detections, the best first, in pixels of the picture that the letterbox has placed; without one, of the image.

        Raises:
          ModelError: what the model's outputs mean is not known.
          OptionError: a threshold outside 0..1, or no letterbox.
          ShapeError, StateError: as `run`.
        """
        head_of(self._loaded)
        placing = placing_of(letterbox or getattr(image, "letterbox", None))
        check_share("confidence", confidence)
        check_share("iou", iou)
        outputs, objects = self.run(image, motion), self.reuse.planned
        plans, shape = self.reuse.policy == "planned", self._ran().program.engine.plan.image_size
        lowest = min(confidence, objects.region_confidence) if plans else confidence
        found = decoded(outputs, self._loaded, shape, confidence=lowest, iou=iou)
        if plans:
            self.focus(regions(found, objects.region_confidence, objects.small_px))
        shown = found.select(np.flatnonzero(found.scores > confidence))
        return in_picture(shown, self._canvas_px, self.origin, placing)
