"""A model loaded from a file, and the layout of its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from fluxshard.saved.saved_model import SavedModel

Task = Literal["detect", "segment", "pose", "semantic", "classify", "depth", "raw"]
MAP_TASKS: tuple[Task, ...] = ("semantic", "classify", "depth", "raw")
"""Tasks without detections, which any network may have: they need no layout of its outputs."""
TASKS: tuple[Task, ...] = ("detect", "segment", "pose", *MAP_TASKS)


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """Channel layout of a detector's prediction tensor.

    Source: the output heads of Ultralytics YOLO (nn/modules/head.py).

    Attributes:
      task: "detect": boxes and classes; "segment": also mask coefficients; "pose": also keypoints.
      classes: number of classes.
      mask_channels: mask coefficients per box; 0 without masks.
      keypoint_shape: (keypoints, values per keypoint); None without keypoints.
      is_end_to_end: True for rows `(1, N, 6 + extra)` of x1, y1, x2, y2, score, class, extra, which need no
        non-maximum suppression; False for `(1, 4 + classes + extra, N)` of centre x, centre y, width, height, class
        scores, extra.
    """

    task: Task
    classes: int
    mask_channels: int = 0
    keypoint_shape: tuple[int, int] | None = None
    is_end_to_end: bool = False

    @property
    def extra(self) -> int:
        """Number of channels behind the class scores."""
        if self.keypoint_shape is not None:
            return self.keypoint_shape[0] * self.keypoint_shape[1]
        return self.mask_channels


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A network in eval mode and float32, ready for `fluxshard.compile`.

    Attributes:
      net: network with input `(1, 3, H, W)` float32 in 0..1.
      task: meaning of the outputs; "raw" where it is unknown and outputs are only summarised.
      layout: layout of the outputs; None for `MAP_TASKS`.
      names: class names; empty for "raw", and where nobody knows them.
      stride_px: largest stride in pixels; height and width of the input must be multiples of it.
      input_shape: the only (H, W) that the network accepts; None where it accepts any, or those of `saved`.
      saved: the file, where it is a saved model: it is opened, not compiled, and `net` is a torch module of its plans.
    """

    net: nn.Module | ExportedProgram
    task: Task = "raw"
    layout: HeadLayout | None = None
    names: tuple[str, ...] = ()
    stride_px: int = 1
    input_shape: tuple[int, int] | None = None
    saved: SavedModel | None = None

    def __repr__(self) -> str:
        classes = f", {len(self.names)} classes" if self.names else ""
        return f"LoadedModel({type(self.net).__name__}, {self.task}{classes})"
