"""Network under evaluation: loaded once, compiled once per canvas size."""

from __future__ import annotations

from dataclasses import replace

from fluxshard.compile_loaded import compile_loaded
from fluxshard.compiled.model import CompiledModel
from fluxshard.errors import OptionError
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.options import CompileOptions


class CompiledNetwork:
    """A loaded network and its compiled models, shared by all methods that run in one process.

    Args:
      loaded: network and layout of its outputs.
      shape: (H, W) of its input.
      options: compile options; `canvas_px` is overridden per model.

    Attributes:
      loaded: network as read from its file.
      layout: layout of its outputs.
      shape: (H, W) of its input.

    Raises:
      OptionError: the task is "raw", so the meaning of the outputs is unknown.
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
        """Model for a canvas `canvas_px` larger than the image per axis; 0 is the image itself. Cached.

        Raises:
          OptionError: a saved model, which was saved with another canvas.
        """
        if canvas_px not in self._models:
            options = replace(self._options, canvas_px=canvas_px)
            self._models[canvas_px] = compile_loaded(self.loaded, options=options)
        return self._models[canvas_px]

    def detect(self, outputs: object, canvas_px: int, confidence: float, iou: float = 0.7) -> Detections:
        """Decodes network outputs to detections.

        Args:
          outputs: outputs of `model(canvas_px)`.
          canvas_px: canvas of that model.
          confidence: scores must be above it.
          iou: overlap above which non-maximum suppression drops the lower score.

        Returns:
          at most 50 detections, in pixels of the canvas (of the image, where `canvas_px` is 0).

        Raises:
          ModelError: the outputs do not have the shape of the layout.
        """
        height, width = self.shape
        return decode(
            outputs, self.layout, (height + canvas_px, width + canvas_px), confidence=confidence, iou=iou, limit=50
        )
