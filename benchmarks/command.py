"""Frames per second of `fluxshard run`, with and without its film, beside the latency of the network part alone.

    python -m benchmarks.command --video VIDEO --model yolo11n-seg.pt --frames 100 --rounds 5

Every round runs the same frames four times: the network part over frames that have been read before, in turns with the
film (nothing overlaps), overlapped with the film, and overlapped without it. Figures are medians over rounds, ratios
medians of the ratios within a round, so that other load of the machine meets all sides of a ratio. CPU time is that of
all threads of the process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import fluxshard
from fluxshard import video
from fluxshard.cli.run.recording import Recording, RunFiles, write_frames
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import network_shape
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.overlap.run_overlapped import Overlap
from fluxshard.pipeline.stream_loop import StreamLoop

CONFIDENCE = 0.25


@dataclass(frozen=True, slots=True)
class Cost:
    """What one frame costs, in milliseconds: wall clock, CPU time, and the median latency of the network part."""

    wall_ms: float
    cpu_ms: float
    network_ms: float


def measured(run: Callable[[], list[float]]) -> Cost:
    """Runs frames; `run` returns the latencies of the network part."""
    wall, cpu = time.perf_counter(), time.process_time()
    latencies = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(1e3 * wall / len(latencies), 1e3 * cpu / len(latencies), statistics.median(latencies[1:]))


def main() -> None:
    """Prints a Markdown table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hide-reuse", action="store_true", help="films without the recomputed area")
    given = parser.parse_args()
    loaded = load(given.model)
    assert loaded.layout is not None
    with video.open(given.video) as probe:
        shape = network_shape(None, probe.shown_size, loaded)
    reuse = fluxshard.ReuseOptions(policy="planned")
    compiled = fluxshard.compile(loaded.net)
    head = DetectionHead(loaded.layout, shape, confidence=min(CONFIDENCE, reuse.planned.region_confidence))
    with video.open(given.video, size=shape, max_frames=given.frames) as source:
        read = list(source)

    def loop_over(session: fluxshard.Session) -> StreamLoop:
        return StreamLoop(session=session, detect=head, objects=reuse.planned)

    def network() -> list[float]:
        with compiled.session(reuse) as session:
            loop = loop_over(session)
            return [loop.step(frame.planes, frame.motion, frame).run_ms for frame in read]

    def command(out: Path, *, film: bool, overlap: Overlap | None) -> list[float]:
        recording = Recording()
        with (
            compiled.session(reuse) as session,
            video.open(given.video, size=shape, max_frames=given.frames) as source,
        ):
            files = RunFiles(out=out, names=loaded.names, show_work=not given.hide_reuse, film=film)
            screen = Console(stderr=True, force_terminal=False)
            write_frames(files, source, loop_over(session), recording, screen, confidence=CONFIDENCE, overlap=overlap)
        return [record.incremental_ms for record in recording.records]

    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Callable[[], list[float]]] = {
            "network part alone": network,
            "in turns, with the film": lambda: command(Path(folder), film=True, overlap=None),
            "overlapped, with the film": lambda: command(Path(folder), film=True, overlap=Overlap()),
            "overlapped, --no-film": lambda: command(Path(folder), film=False, overlap=Overlap()),
        }
        network()  # compiles
        rounds = [{name: measured(run) for name, run in sides.items()} for _ in range(given.rounds)]
    alone, turns, film, bare = sides
    print(f"{Path(given.video).name}, {given.frames} frames, {given.rounds} rounds, {os.cpu_count()} processors")
    print("\n| | ms a frame | frames/s | CPU ms a frame | network part, ms |\n|---|---:|---:|---:|---:|")
    for name in sides:
        wall, cpu, latency = (
            statistics.median(getattr(one[name], part) for one in rounds)
            for part in ("wall_ms", "cpu_ms", "network_ms")
        )
        print(f"| {name} | {wall:.1f} | {1e3 / wall:.1f} | {cpu:.1f} | {latency:.1f} |")

    def ratio(top: Callable[[dict[str, Cost]], float]) -> str:
        values = sorted(top(one) for one in rounds)
        return f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"

    print(f"\nframes/s times the latency alone: {ratio(lambda r: r[alone].network_ms / r[film].wall_ms)}")
    print(f"frames/s times the latency in the run: {ratio(lambda r: r[film].network_ms / r[film].wall_ms)}")
    print(f"time with the film over that without: {ratio(lambda r: r[film].wall_ms / r[bare].wall_ms)}")
    print(f"time in turns over time overlapped: {ratio(lambda r: r[turns].wall_ms / r[film].wall_ms)}")


if __name__ == "__main__":
    main()
