"""Square objects and their traces, for the tests of metrics."""

from __future__ import annotations

import numpy as np

from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.traces.trace import FoundObject, Trace, TracedFrame

SIZE = (40, 60)


def found(
    x: int, y: int = 4, side: int = 10, *, score: float = 0.9, category: int = 0, masked: bool = True
) -> FoundObject:
    """A square object; its mask is the square."""
    mask = np.zeros(SIZE, np.uint8)
    mask[y : y + side, x : x + side] = 1
    box = (float(x), float(y), float(x + side), float(y + side))
    return FoundObject(category=category, score=score, box=box, mask=encode(mask) if masked else None)


def trace(*frames: tuple[FoundObject, ...], method: str = "m", **fields: float) -> Trace:
    """A trace with these objects per frame."""
    body = {"keyframe": False, "compute_ratio": 0.5, "recompute_ratio": 0.25, "latency_ms": 8.0} | fields
    return Trace(
        clip="c",
        method=method,
        picture_size=SIZE,
        frames=tuple(TracedFrame(objects=objects, **body) for objects in frames),  # type: ignore[arg-type]
    )


def square(x: int, side: int = 10) -> str:
    """Run lengths of a square."""
    return str(found(x, side=side).mask)
