"""Clips, traces and workers for tests of `fluxshard.evaluate`, made by hand and run in this process. Needs PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.evaluate.data.clips import PreparedClip
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.traces.trace import FoundObject, Trace, TracedFrame
from fluxshard.evaluate.traces.tracing import trace_clip
from fluxshard.evaluate.traces.workers import FinishedTask, Task
from fluxshard.motion import MotionField
from fluxshard.options import CompileOptions
from fluxshard.testing.networks import bright_model
from fluxshard.video.letterbox import Letterbox

SIZE = (32, 48)
"""(H, W) of clips and traces, where no other size is given."""


def bright_network(size: tuple[int, int] = SIZE) -> CompiledNetwork:
    """`BrightCells` as the network under test, on the reference backend."""
    return CompiledNetwork(bright_model(), size, CompileOptions(backend="reference"))


def clip_of(
    images: Sequence[Tensor],
    motion: tuple[int, int] | None = None,
    name: str = "clip",
    picture: tuple[int, int] | None = None,
) -> PreparedClip:
    """A clip without annotations.

    Args:
      images: `(1, 3, H, W)` 0..1, of one size.
      motion: (y, x) pixels that everything moves by, from the second image on; None where it is unknown.
      name: of the clip.
      picture: (H, W) of the pictures that the images show; None takes that of the images.
    """
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
    """An object of a trace; see `FoundObject` for the arguments.

    Args:
      score: confidence, 0..1.
      box: x1, y1, x2, y2 in pixels.
      category: class.
      mask: run lengths.
      keypoints: x, y, visibility of each.
    """
    return FoundObject(category=category, score=score, box=box, mask=mask, keypoints=keypoints)


def trace_of(
    *frames: Iterable[FoundObject],
    size: tuple[int, int] = SIZE,
    clip: str = "clip",
    method: str = "m",
    work: float | Sequence[float] = 0.5,
) -> Trace:
    """A trace whose first frame is a keyframe.

    Args:
      frames: objects of each frame.
      size: (H, W) of the pictures.
      clip, method: names.
      work: compute and recompute ratio, of all frames or of each.
    """
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
    """A mask of (H, W) = `size` that is True in a rectangle of half-open rows and columns."""
    mask = np.zeros(size, np.bool_)
    mask[rows[0] : rows[1], columns[0] : columns[1]] = True
    return mask


class PoolOf:
    """A worker pool without processes: a function makes each task's result. Tasks finish in reverse order.

    Args:
      result: of a task.

    Attributes:
      ran: (method, clip) names of all tasks so far.
    """

    def __init__(self, result: Callable[[Task], FinishedTask]) -> None:
        self._result = result
        self.ran: list[tuple[str, str]] = []

    def run(self, tasks: Sequence[Task], on_frames: Callable[[int], None] = lambda _: None) -> Iterator[FinishedTask]:
        """See `WorkerPool.run`."""
        for task in reversed(tasks):
            self.ran.append((task.method.name, task.clip.name))
            finished = self._result(task)
            on_frames(len(finished.trace.frames))
            yield finished


def pool_on(network: CompiledNetwork, clips: Sequence[PreparedClip]) -> PoolOf:
    """A pool that runs a network over prepared clips in this process."""
    by_name = {clip.name: clip for clip in clips}
    return PoolOf(lambda task: FinishedTask(task, trace_clip(task.method, network, by_name[task.clip.name]), None))
