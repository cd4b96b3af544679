"""A session for tests of pipelines and commands: its detections and statistics are known, and it records its calls."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fluxshard.errors import FluxShardError
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.runtime.planned.planner import PlannedFrame
from fluxshard.runtime.stats import FrameStats

YOLO_LIKE = LoadedModel(nn.Identity(), "detect", HeadLayout("detect", 2), ("cat", "dog"), stride_px=32)
"""A model, as read from a weights file, whose outputs are laid out as `detection` makes them."""


def detection(x: float, y: float = 30.0, score: float = 0.9) -> Tensor:
    """The output of a detector that finds one dog of 20 x 20 px.

    Args:
      x, y: of the box's centre, in pixels.
      score: confidence, 0..1.

    Returns:
      `(1, 6, 20)`: x, y, width, height, and the scores of a cat and a dog, for 20 candidates; all but the first are 0.
    """
    tensor = torch.zeros(1, 6, 20)
    tensor[0, :, 0] = torch.tensor([x, y, 20.0, 20.0, 0.0, score])
    return tensor


@dataclass
class FakeSession:
    """Takes the place of a `Session`: whatever the images show, it finds one dog at x = 32, y = 30.

    The first frame is a keyframe; each later one counts a fifth of the multiply-accumulates and a tenth of the pixels.

    Attributes:
      drift: pixels per frame that the dog moves to the right.
      fail_at: number of the frame that fails with a `FluxShardError`; None never fails.
      step: (y, x) pixels per frame that the image moves by on its canvas, and the dog with it.
      score: of the dog, 0..1.
      size: (H, W) of the images, for `work_map`.
      planned: what `Session.planned` returns.
      blind: without `run_whole`, the dog is seen this many pixels to the right: what reuse gets wrong.
      seen: motion fields of all frames so far.
      scales: what `scale_thresholds` has received.
      wholes: frames that ran whole.
      regions: what `focus` has received.
      origin: (y, x) of the last image on the canvas.
    """

    drift: float = 0.0
    fail_at: int | None = None
    step: tuple[int, int] = (0, 0)
    score: float = 0.9
    size: tuple[int, int] = (64, 96)
    planned: PlannedFrame | None = None
    blind: float = 0.0
    seen: list[MotionField | None] = field(default_factory=list)
    regions: list[NDArray[np.uint8]] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    wholes: int = 0
    origin: tuple[int, int] = (0, 0)
    stats: FrameStats = field(init=False)

    def run(self, image: Tensor, motion: MotionField | None = None) -> Tensor:
        """See `Session.run`; returns what `detection` makes.

        Raises:
          FluxShardError: this is the frame that `fail_at` names.
        """
        n = len(self.seen)
        if n == self.fail_at:
            raise FluxShardError(f"the fake session stumbled at frame {n}, as fail_at={n} asks")
        self.seen.append(motion)
        self.stats = _stats(n)
        self.origin = n * self.step[0], n * self.step[1]
        return detection(32 + self.drift * n + self.blind + self.origin[1], 30 + self.origin[0], self.score)

    def run_whole(self, image: Tensor) -> Tensor:
        """See `Session.run_whole`; of the frame that ran last."""
        self.wholes += 1
        n = len(self.seen) - 1
        self.stats = _stats(0)
        return detection(32 + self.drift * n + self.origin[1], 30 + self.origin[0], self.score)

    def scale_thresholds(self, scale: float) -> None:
        """See `Session.scale_thresholds`."""
        self.scales.append(scale)

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """See `Session.focus`."""
        self.regions.append(regions)

    def work_map(self) -> NDArray[np.float32]:
        """See `Session.work_map`: all work lies on the diagonal of the 8-px cells."""
        return np.eye(cells(self.size[0], CELL_PX), cells(self.size[1], CELL_PX), dtype=np.float32)


def _stats(frame: int) -> FrameStats:
    keyframe = frame == 0
    return FrameStats(
        frame=frame,
        keyframe=keyframe,
        recompute_ratio=1.0 if keyframe else 0.1,
        compute_ratio=1.0 if keyframe else 0.2,
        tx_ratio=0.0,
        latency_ms=9.0,
        edge_pre_ms=0.5,
        server_pre_ms=0.0,
        transmission_ms=0.0,
        inference_ms=8.0,
        post_ms=0.5,
        overhead_ms=0.5,
        motion_source="given",
        placement="edge",
        bytes_sent=0,
        layers_executed=1,
    )
