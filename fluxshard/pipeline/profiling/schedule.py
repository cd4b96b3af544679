"""Which frames a profile measures: an order in which work differs from frame to frame, so that drift is not work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fluxshard.errors import OptionError
from fluxshard.options import ReuseOptions

REPEAT = 0  # frames to advance by: the same picture again, of which next to nothing is recomputed


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilingOptions:
    """How frames are measured.

    Attributes:
      frames: that are measured.
      warm_up: frames of each stream that run before any counts.
      scales: factors on the thresholds of planned reuse, each for a stream of its own. What a planned frame takes
        depends on its work, not on the thresholds that led to it; under propagated reuse it does, so there is one
        stream, with the thresholds as they are.
      gaps: captured frames from one measured frame to the next, drawn with equal chance. A cache that is `n` frames old
        asks for more work, as it does where frames ran elsewhere; 0 runs the same picture again.
      keyframe_share: of frames that start the stream anew, 0..1.
      block: frames in a row on one stream. The first of a block does not count: its features have left the processor's
        caches.
      seed: of all that is drawn.

    Raises:
      OptionError: a value that is not allowed.
    """

    frames: int = 160
    warm_up: int = 3
    scales: tuple[float, ...] = (1.0, 0.25, 4.0)
    gaps: tuple[int, ...] = (REPEAT, 1, 1, 1, 1, 1, 1, 2, 2, 4, 4, 8)
    keyframe_share: float = 0.05
    block: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("frames", 1), ("warm_up", 0), ("block", 2)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} (={getattr(self, name)}) must be at least {least}")
        if not 0 <= self.keyframe_share <= 1:
            raise OptionError(f"keyframe_share (={self.keyframe_share}) must lie between 0 and 1")
        if not self.gaps or min(self.gaps) < 0:
            raise OptionError(f"gaps (={self.gaps}) must be one or more whole numbers of at least 0")
        if not self.scales or not all(math.isfinite(scale) and scale > 0 for scale in self.scales):
            raise OptionError(f"scales (={self.scales}) must be one or more finite numbers above 0")

    def streams(self, reuse: ReuseOptions) -> tuple[ReuseOptions, ...]:
        """Options of reuse of each stream."""
        if reuse.policy == "propagated":
            return (reuse,)
        return tuple(_scaled(reuse, scale) for scale in self.scales)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One frame to run.

    Attributes:
      stream: that runs it.
      gap: captured frames since the last step; 0 for the same picture.
      keyframe: the stream is started anew.
      counts: it is measured, and not only run to warm up.
    """

    stream: int
    gap: int
    keyframe: bool
    counts: bool


def steps(streams: int, options: ProfilingOptions) -> Iterator[Step]:
    """Steps in blocks, one stream each, the streams in a new order every round.

    Args:
      streams: number of streams.
      options: how many steps count, and what is drawn.
    """
    random = np.random.default_rng(options.seed)
    left, ran = options.frames, [0] * streams
    while True:
        for stream in random.permutation(streams):
            for position in range(options.block):
                counts = ran[stream] >= options.warm_up and (position > 0 or streams == 1)
                yield Step(
                    stream=int(stream),
                    gap=int(random.choice(options.gaps)) if ran[stream] else 1,
                    keyframe=counts and bool(random.random() < options.keyframe_share),
                    counts=counts,
                )
                ran[stream] += 1
                left -= counts
                if not left:
                    return


def _scaled(reuse: ReuseOptions, scale: float) -> ReuseOptions:
    planned = reuse.planned
    background, small = planned.tau_background, planned.tau_small
    return replace(
        reuse,
        planned=replace(
            planned,
            tau=planned.tau * scale,
            tau_background=None if background is None else background * scale,
            tau_small=None if small is None else small * scale,
            tau_waiting=planned.tau_waiting * scale,
        ),
    )


def describe(reuse: ReuseOptions, options: ProfilingOptions) -> Sequence[str]:
    """Names of the streams, for people."""
    return (
        ("as given",) if reuse.policy == "propagated" else tuple(f"thresholds x{scale:g}" for scale in options.scales)
    )
