"""A detector whose results are known by hand, and what runs it without processes: for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fluxshard.evaluate.data.clips import PreparedClip
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.traces.trace import FoundObject, Trace, TracedFrame
from fluxshard.evaluate.traces.tracing import trace_clip
from fluxshard.evaluate.traces.workers import FinishedTask, Task
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.motion import MotionField
from fluxshard.options import CompileOptions
from fluxshard.video.letterbox import Letterbox

CELL = 8
SIZE = (32, 48)


class Bright(nn.Module):
    """Finds bright cells of 8 px: one box each, scored 2 * mean - 1; boxes as Ultralytics lays them out, one class."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Conv2d(3, 1, CELL, CELL)
        nn.init.constant_(self.mean.weight, 2 / (3 * CELL * CELL))
        nn.init.constant_(self.mean.bias, -1.0)  # type: ignore[arg-type]
        self.act = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        """`(1, 5, cells)`: x, y, width, height, score."""
        score = self.act(self.mean(image))
        height, width = score.shape[2:]
        y = (CELL * torch.arange(height) + CELL / 2).view(1, 1, height, 1).expand(1, 1, height, width)
        x = (CELL * torch.arange(width) + CELL / 2).view(1, 1, 1, width).expand(1, 1, height, width)
        side = torch.full((1, 2, height, width), float(CELL))
        return torch.cat([x, y, side, score], 1).flatten(2)


def bright_model() -> LoadedModel:
    """`Bright` as if it was read from a file."""
    net = Bright().eval().requires_grad_(False)
    return LoadedModel(net, "detect", HeadLayout("detect", 1), ("bright",), CELL)


def bright_network(size: tuple[int, int] = SIZE) -> CompiledNetwork:
    """`Bright` on the reference backend."""
    return CompiledNetwork(bright_model(), size, CompileOptions(backend="reference"))


def square(y: int, x: int, size: tuple[int, int] = SIZE, value: float = 1.0) -> Tensor:
    """A black image `(1, 3, H, W)` with one square of 8 px."""
    image = torch.zeros(1, 3, *size)
    image[..., y : y + CELL, x : x + CELL] = value
    return image


def box_at(y: int, x: int) -> list[float]:
    """x1, y1, x2, y2 of a square."""
    return [x, y, x + CELL, y + CELL]


def clip_of(
    images: Sequence[Tensor],
    motion: tuple[int, int] | None = None,
    name: str = "clip",
    picture: tuple[int, int] | None = None,
) -> PreparedClip:
    """A clip whose images show pictures of the size `picture`, by default their own; all of it moves by `motion`."""
    height, width = images[0].shape[2:]
    box = Letterbox(picture or (height, width), (height, width))
    field = None if motion is None else MotionField.uniform(height, width, *motion)
    pixels = tuple(image[0].permute(1, 2, 0).mul(255).round().byte().numpy() for image in images)
    return PreparedClip(name, box, pixels, (None, *[field] * (len(images) - 1)), None)


def found(
    score: float,
    box: tuple[float, float, float, float] = (0, 0, 8, 8),
    *,
    category: int = 0,
    mask: str | None = None,
    keypoints: tuple[float, ...] | None = None,
) -> FoundObject:
    """An object."""
    return FoundObject(category=category, score=score, box=box, mask=mask, keypoints=keypoints)


def trace_of(
    *frames: Iterable[FoundObject],
    size: tuple[int, int] = (32, 48),
    clip: str = "clip",
    method: str = "m",
    work: float | Sequence[float] = 0.5,
) -> Trace:
    """A trace with these objects per frame, and `work` as compute ratio of every frame or of each."""
    objects = [tuple(one) for one in frames]
    works = [work] * len(objects) if isinstance(work, float) else work
    return Trace(
        clip=clip,
        method=method,
        picture_size=size,
        frames=tuple(
            TracedFrame(keyframe=index == 0, compute_ratio=ratio, recompute_ratio=ratio, objects=one)
            for index, (one, ratio) in enumerate(zip(objects, works, strict=True))
        ),
    )


def window(size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask that is True in a rectangle of half-open rows and columns."""
    mask = np.zeros(size, np.bool_)
    mask[rows[0] : rows[1], columns[0] : columns[1]] = True
    return mask


class PoolOf:
    """Stands in for a WorkerPool: what a function makes of each task, the last one first: any order is possible.

    Attributes:
      ran: (method, clip) names of all tasks so far.
    """

    def __init__(self, result: Callable[[Task], FinishedTask]) -> None:
        self._result = result
        self.ran: list[tuple[str, str]] = []

    def run(self, tasks: Sequence[Task], on_frames: Callable[[int], None] = lambda _: None) -> Iterator[FinishedTask]:
        """As `WorkerPool.run`."""
        for task in reversed(tasks):
            self.ran.append((task.method.name, task.clip.name))
            finished = self._result(task)
            on_frames(len(finished.trace.frames))
            yield finished


def pool_on(network: CompiledNetwork, clips: Sequence[PreparedClip]) -> PoolOf:
    """A pool that runs a network over prepared clips in this process."""
    by_name = {clip.name: clip for clip in clips}
    return PoolOf(lambda task: FinishedTask(task, trace_clip(task.method, network, by_name[task.clip.name]), None))
