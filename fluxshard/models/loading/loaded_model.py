"""A model as read from a file, with what is known of its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

Task = Literal["detect", "segment", "pose", "raw"]


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """How the channels of a detector's output are laid out.

    Attributes:
      task: "detect": boxes and classes; "segment": and mask coefficients; "pose": and keypoints.
      classes: number of classes.
      mask_channels: mask coefficients per box; 0 without masks.
      keypoint_shape: (keypoints, values per keypoint); None without keypoints.
      is_end_to_end: True for `(1, N, 6 + extra)` rows that need no suppression: x1, y1, x2, y2, score, class, extra;
        False for `(1, 4 + classes + extra, N)`: x, y, width, height, class scores, extra.
    """

    task: Task
    classes: int
    mask_channels: int = 0
    keypoint_shape: tuple[int, int] | None = None
    is_end_to_end: bool = False

    @property
    def extra(self) -> int:
        """Channels behind the class scores."""
        if self.keypoint_shape is not None:
            return self.keypoint_shape[0] * self.keypoint_shape[1]
        return self.mask_channels


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A network in eval mode and float32, ready for `fluxshard.compile`.

    Attributes:
      net: takes `(1, 3, H, W)` float32 in 0..1.
      task: what the outputs mean; "raw": unknown, they are only summarised.
      layout: layout of the outputs; None for "raw".
      names: class names; empty for "raw".
      stride_px: height and width of the input must be multiples of it.
      input_shape: the only (H, W) that the network takes; None where it takes any.
    """

    net: nn.Module | ExportedProgram
    task: Task = "raw"
    layout: HeadLayout | None = None
    names: tuple[str, ...] = ()
    stride_px: int = 1
    input_shape: tuple[int, int] | None = None
