"""What it costs to decide the work of a planned frame: the image test and the planning.

    chrt -r 1 python -m benchmarks.planning --model yolo11n-seg.pt --size 384 640

Every session of a clip proposes a frame (`Session.propose`), and then they run it, with regions from its detections.
With `--sessions 2` two caches decide for every frame, as an edge and its server have them. Medians over the frames
after the first; the proposal finds the caches of the processor as the frame before has left them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from pathlib import Path

import torch

import fluxshard
from benchmarks.dense_engines import normalised
from benchmarks.frame import cpu_name
from benchmarks.user_cost import CLIPS, Frames, frames_of
from fluxshard.models.loading import ultralytics
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.stream_loop import StreamLoop


def measure(
    model: fluxshard.CompiledModel, head: DetectionHead, frames: Frames, n_sessions: int, *, as_bytes: bool
) -> tuple[float, float, float]:
    """Milliseconds of all proposals of a frame, of running it once, and the share of the network's work."""
    reuse = fluxshard.ReuseOptions(policy="planned")
    proposing, running, shares = [], [], []
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(model.session(reuse)) for _ in range(n_sessions)]
        loops = [StreamLoop(session=session, detect=head, objects=reuse.planned) for session in sessions]
        stack.enter_context(torch.inference_mode())
        for picture, motion in frames:
            image = torch.from_numpy(picture).permute(2, 0, 1)[None] if as_bytes else normalised(picture)
            started = time.perf_counter()
            for session in sessions:
                session.propose(image, motion)
            proposing.append((time.perf_counter() - started) * 1e3)
            for loop in loops:
                running.append(loop.step(image, motion).run_ms)
            shares.append(sessions[0].stats.compute_ratio)
    return statistics.median(proposing[1:]), statistics.median(running[n_sessions:]), statistics.mean(shares[1:])


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n-seg.pt", help="weights, looked for in FLUXSHARD_DATA/weights")
    parser.add_argument("--size", type=int, nargs="+", default=[384, 640], help="H W, or one number for a square")
    parser.add_argument("--clip", nargs="+", default=list(CLIPS), help="videos, looked for in FLUXSHARD_DATA")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--bytes", action="store_true", help="pictures as videos give them, and not as float32")
    args = parser.parse_args()
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    size = (args.size[0], args.size[-1])
    weights = Path(args.model) if Path(args.model).exists() else data / "weights" / args.model
    loaded = ultralytics.load(weights)
    assert loaded.layout is not None
    head = DetectionHead(loaded.layout, size, confidence=0.1)
    options = fluxshard.CompileOptions(backend="cpp", dtype=args.dtype)
    model = fluxshard.compile(loaded.net, torch.zeros(1, 3, *size), options=options)
    threads = torch.get_num_threads()
    print(f"{weights.name} at {size[0]}x{size[1]}, {args.sessions} sessions, {cpu_name()}, {threads} threads\n")
    print("| clip | compute ratio | proposals, ms | the frame with its own, ms |\n|---|---:|---:|---:|")
    for clip in args.clip:
        place = Path(clip) if Path(clip).exists() else data / clip
        frames = frames_of(place, size, args.frames)
        rounds = [measure(model, head, frames, args.sessions, as_bytes=args.bytes) for _ in range(args.rounds)]
        proposing, running, share = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| {place.stem} | {share:.3f} | {proposing:.2f} | {running:.2f} |", flush=True)


if __name__ == "__main__":
    main()
