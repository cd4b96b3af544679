"""Runs one method over one prepared clip and traces its results."""

from __future__ import annotations

import platform
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from fluxshard.evaluate.data.clips import PreparedClip
from fluxshard.evaluate.data.masks import found_objects
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method import Method
from fluxshard.evaluate.traces.trace import Trace, TracedFrame

MOST_OBJECTS = 20  # maximum number of objects per traced frame, highest scores first


@torch.inference_mode()
def trace_clip(
    method: Method, subject: CompiledNetwork, clip: PreparedClip, done: Callable[[int], None] = lambda _: None
) -> Trace:
    """Runs a method over a clip.

    Args:
      method: method to run.
      subject: network under evaluation.
      clip: clip prepared at the network's input size.
      done: called with 1 after every frame.

    Returns:
      the trace, with objects in pixels of the clip's pictures.

    Raises:
      EvaluationError: detections have masks and pycocotools is not installed.
    """
    stream = method.start(subject)
    box = clip.letterbox
    frames = []
    for index in range(len(clip)):
        motion = clip.motion[index]
        outcome = stream(clip.image(index), motion)
        origin = (box.offset[0] + outcome.origin[0], box.offset[1] + outcome.origin[1])
        found = outcome.found.to_picture(box.scale, origin, box.picture_size)
        moving = 0.0 if motion is None or not motion.valid.any() else _spread(motion.displacement[motion.valid])
        frames.append(
            TracedFrame(
                keyframe=outcome.keyframe,
                compute_ratio=outcome.compute_ratio,
                recompute_ratio=outcome.recompute_ratio,
                latency_ms=outcome.latency_ms,
                motion_px=moving,
                objects=found_objects(found, MOST_OBJECTS),
            )
        )
        done(1)
    facts = {
        "family": method.family,
        "network": type(subject.loaded.net).__name__,
        "task": subject.loaded.task,
        "shape": list(subject.shape),
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        **method.facts,
    }
    return Trace(clip=clip.name, method=method.name, picture_size=box.picture_size, facts=facts, frames=tuple(frames))


def _spread(vectors: NDArray[np.int16]) -> float:
    """Standard deviation of `(N, 2)` vectors around their mean, in pixels; 0 for uniform motion."""
    return float(np.sqrt(vectors.astype(np.float64).var(0).sum()))
