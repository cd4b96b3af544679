"""How good a result still is when it is moved along the motion to a later frame, by how much later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fluxshard.evaluate.data.clips import PreparedClip
from fluxshard.evaluate.data.masks import encode, found_objects
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method import Method
from fluxshard.evaluate.metrics.score import score
from fluxshard.evaluate.traces.trace import FoundObject, Trace, TracedFrame
from fluxshard.evaluate.traces.tracing import MOST_OBJECTS
from fluxshard.models.detections.advance import advance
from fluxshard.models.detections.detections import Detections

AGES = (1, 2, 3, 4, 6, 8, 12, 16)

Floats = NDArray[np.float64]


@torch.inference_mode()
def moved_traces(
    method: Method,
    subject: CompiledNetwork,
    clip: PreparedClip,
    ages: Sequence[int] = AGES,
    on_frame: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[int, Trace]:
    """Traces of results that are so many frames old and were moved from each frame to the next.

    Args:
      method: whose results they are; it runs on every frame, and has no canvas.
      subject: the network.
      clip: the clip.
      ages: in frames, rising. Frames before there is such a result have no objects.
      on_frame: called with the number of frames done and of all frames.

    Returns:
      by age.
    """
    stream, box, ring = method.start(subject), clip.letterbox, deque[Detections](maxlen=ages[-1] + 1)
    frames: dict[int, list[TracedFrame]] = {age: [] for age in ages}
    for index in range(len(clip)):
        motion = clip.motion[index]
        ring = deque((advance(one, motion, box.crop) for one in ring), maxlen=ages[-1] + 1)
        ring.append(stream(clip.image(index), motion).found)
        for age in ages:
            objects: tuple[FoundObject, ...] = ()
            if age < len(ring):
                picture = ring[-1 - age].to_picture(box.scale, box.offset, box.picture_size)
                objects = found_objects(picture, MOST_OBJECTS)
            frames[age].append(
                TracedFrame(keyframe=index == 0, compute_ratio=0.0, recompute_ratio=0.0, objects=objects)
            )
        on_frame(index + 1, len(clip))
    return {
        age: Trace(
            clip=clip.name, method=f"{method.name}, {age} frames old", picture_size=box.picture_size, frames=tuple(of)
        )
        for age, of in frames.items()
    }  # fmt: skip


def moved_accuracy(traces: dict[int, Trace], dense: Trace, clip: PreparedClip, measure: str) -> dict[int, Floats]:
    """Accuracy of every frame, by age; NaN where there is nothing to compare with, or no result of that age.

    Args:
      traces: of `moved_traces`.
      dense: trace of the dense network on the same clip.
      clip: the clip.
      measure: name of a metric in `FrameScores`.
    """
    annotations = None if clip.annotations is None else [encode(mask) for mask in clip.annotations]
    found = {}
    for age, trace in traces.items():
        values = [getattr(frame, measure) for frame in score(trace, dense, annotations).frames]
        column = np.array([np.nan if value is None else value for value in values], np.float64)
        column[:age] = np.nan
        found[age] = column
    return found
