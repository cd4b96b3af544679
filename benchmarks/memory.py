"""Memory of streams on the CPU: resident set of so many streams of one model, running, parked and back.

    python -m benchmarks.memory --model yolo11n-seg.pt --height 384 --width 640 --dtype bfloat16 --video clip.mp4

All streams run the same frames of the video, one after another; outputs after parking are compared with those of a
stream that was never parked, bit for bit. What comes with the first frame of a process (threads, scratch) is there
before it is measured.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import fluxshard
from fluxshard.models.loading.load import load
from fluxshard.motion import MotionField
from fluxshard.runtime.session import Session

MIB = 1 << 20
Frames = list[tuple[Tensor, MotionField | None]]


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tensors(outputs: object) -> list[Tensor]:
    """Outputs of any structure, as a list."""
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


def timed(sessions: Sequence[Session], what: str) -> float:
    """Calls a method of every session; the median in milliseconds."""
    times = []
    for session in sessions:
        started = time.perf_counter()
        getattr(session, what)()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def measure(model: fluxshard.CompiledModel, frames: Frames, streams: int) -> None:
    """Prints what streams take, and how long parking takes.

    Raises:
      SystemExit: a stream that was parked gives other bits.
    """
    half = len(frames) // 2
    with model.session() as never_parked:
        expected = [tensors(never_parked.run(*frame)) for frame in frames]
    gc.collect()
    before = resident()
    sessions = [model.session() for _ in range(streams)]

    def report(state: str, ms: float | None = None) -> None:
        gc.collect()
        taken, stated = (resident() - before) / streams / MIB, sessions[0].state_bytes / MIB
        print(
            f"{state:8} {taken:7.1f} MiB resident a stream, {stated:.1f} stated"
            + ("" if ms is None else f", {ms:.0f} ms")
        )

    for session in sessions:
        for frame in frames[:half]:
            session.run(*frame)
    report("running")
    report("parked", timed(sessions, "park"))
    report("back", timed(sessions, "unpark"))
    timed(sessions, "park")
    for session in sessions:
        for frame, wanted in zip(frames[half:], expected[half:], strict=True):
            if not all(map(torch.equal, tensors(session.run(*frame)), wanted)):
                raise SystemExit("a stream that was parked gives other bits")
    report("running")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="weights file")
    parser.add_argument("--video", required=True, help="any that fluxshard.video opens")
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--streams", type=int, default=12)
    parser.add_argument("--frames", type=int, default=16, help="of the video; streams are parked after half of them")
    given = parser.parse_args(argv)
    size = given.height, given.width
    options = fluxshard.CompileOptions(backend="cpp", dtype=given.dtype)
    model = fluxshard.compile(load(given.model).net, torch.zeros(1, 3, *size), options=options)
    with fluxshard.video.open(given.video, size=size) as video:
        frames = [(frame.image.clone(), frame.motion) for frame, _ in zip(video, range(given.frames), strict=False)]
    frames[0] = frames[0][0], None
    print(model.explain().memory)
    measure(model, frames, given.streams)


if __name__ == "__main__":
    main()
