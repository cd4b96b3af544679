"""The network under test: loaded once, compiled for the image and, where asked for, for the canvas."""

from __future__ import annotations

from dataclasses import replace

from fluxshard.api import CompiledModel, compile
from fluxshard.errors import OptionError
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.options import CompileOptions


class CompiledNetwork:
    """A network and its compiled forms, shared by all methods that run in one process.

    Args:
      loaded: the network and the layout of its outputs.
      shape: (H, W) of its input.
      options: how to compile it; the canvas is chosen here.

    Raises:
      OptionError: a network whose outputs are not known.
    """

    def __init__(self, loaded: LoadedModel, shape: tuple[int, int], options: CompileOptions | None = None) -> None:
        if loaded.layout is None:
            raise OptionError("a network of task 'raw' cannot be evaluated: what its outputs mean is not known")
        self.loaded = loaded
        self.layout: HeadLayout = loaded.layout
        self.shape = shape
        self._options = options or CompileOptions()
        self._models: dict[int, CompiledModel] = {}

    def model(self, canvas_px: int = 0) -> CompiledModel:
        """The network compiled for its image, or for a canvas that is so much larger."""
        if canvas_px not in self._models:
            self._models[canvas_px] = compile(self.loaded.net, options=replace(self._options, canvas_px=canvas_px))
        return self._models[canvas_px]

    def detect(self, outputs: object, canvas_px: int, confidence: float, iou: float = 0.7) -> Detections:
        """Detections in pixels of the image, or of the canvas."""
        height, width = self.shape
        return decode(
            outputs, self.layout, (height + canvas_px, width + canvas_px), confidence=confidence, iou=iou, limit=50
        )
