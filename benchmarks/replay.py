"""Dispatch over recorded links: who answers a frame, when, and how far that is from an oracle; no network, no sockets.

    python -m benchmarks.replay
    python -m benchmarks.replay --model yolo11n-seg.pt --edge xavier-nx-seg --details
    python -m benchmarks.replay --edge EDGE.json --cloud SERVER.json            # latency profiles instead

Content is recorded from clips first, once, into --content: what every frame recomputes and takes in bytes for caches of
every age. That takes minutes, and runs image tests and dense frames. The replays themselves simulate time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fluxshard
from benchmarks.frame import cpu_name
from fluxshard.evaluate.data.clips import Clip, find_clips
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.offload.content.recorded_content import PAYLOADS, RecordedContent
from fluxshard.evaluate.offload.content.recorder import RecordingOptions, record_content
from fluxshard.evaluate.offload.link_trace import tiers
from fluxshard.evaluate.offload.report import (
    against_oracle,
    details,
    draw_tails,
    overview,
    payload_and_predictor,
    pool,
)
from fluxshard.evaluate.offload.scenario import SERVER, XAVIER_NX_POSE, XAVIER_NX_SEG, Curve, profiled_curve
from fluxshard.evaluate.offload.trials import TrialOptions, run_trials, spread
from fluxshard.models.loading import ultralytics
from fluxshard.runtime.offload.latency_profile import LatencyProfile

CLIPS = ["davis", "videos/openpose_street_720p50.avi", "videos/carnd_solidWhiteRight_540p25.mp4"]
CURVES = {"xavier-nx-pose": XAVIER_NX_POSE, "xavier-nx-seg": XAVIER_NX_SEG, "paper-server": SERVER}


def curve(text: str) -> Curve:
    """A curve by name, or of a latency profile."""
    return CURVES[text] if text in CURVES else profiled_curve(LatencyProfile.load(text))


def recorded(clips: Sequence[Clip], weights: Path, size: tuple[int, int], folder: Path) -> list[RecordedContent]:
    """The clips' content: read, or recorded where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [clip for clip in clips if not (folder / f"{clip.name}.npz").exists()]
    if missing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # weights run code; whoever calls this trusts theirs
            network = CompiledNetwork(ultralytics.load(weights), size)
        options = RecordingOptions(reuse=fluxshard.ReuseOptions(policy="planned"), max_frames=120)
        for clip in missing:

            def show(done: int, count: int, name: str = clip.name) -> None:
                print(f"\rrecording {name}: {done}/{count} frames", end="", file=sys.stderr)

            record_content(clip, network, options, show).save(folder / f"{clip.name}.npz")
            print(file=sys.stderr)
    return [RecordedContent.load(folder / f"{clip.name}.npz") for clip in clips]


def describe(contents: Sequence[RecordedContent]) -> str:
    """A table of what was recorded."""
    lines = ["| clip | frames | work at age 1 / 4 / 12 | raw kB | packed kB | H.264 kB | its keyframe | head kB |"]
    lines.append("|---|" + "---:|" * 7)
    for one in contents:
        first, columns = max(one.ages), [one.ages.index(age) for age in (1, 4, 12)]
        rows = slice(min(first, len(one.packet_bytes) // 2), None)
        work = " / ".join(f"{one.work[rows, column, 0].mean():.2f}" for column in columns)
        sizes = [3 * one.pixels[rows, 0], one.packed_bytes[rows, 0], one.packet_bytes, one.key_bytes]
        kilobytes = " | ".join(f"{values.mean() / 1000:.1f}" for values in [*sizes, one.order_bytes[rows, 0]])
        lines.append(f"| {one.name} | {len(one.packet_bytes)} | {work} | {kilobytes} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n-pose.pt", help="weights, looked for in FLUXSHARD_DATA/weights")
    parser.add_argument("--size", type=int, nargs=2, default=[384, 640], help="H W")
    parser.add_argument("--clip", nargs="+", default=CLIPS, help="videos or directories of them, in FLUXSHARD_DATA")
    parser.add_argument("--content", type=Path, default=Path("runs/content"), help="where recorded content is kept")
    parser.add_argument("--edge", default="xavier-nx-pose", help=f"{', '.join(CURVES)}, or a latency profile")
    parser.add_argument("--cloud", default="paper-server", help="the same")
    parser.add_argument("--traces", type=int, default=20, help="per tier")
    parser.add_argument("--seconds", type=float, default=40.0, help="of every trace")
    parser.add_argument("--no-optimum", action="store_true", help="leaves out what takes most of the time")
    parser.add_argument("--details", action="store_true", help="prints all figures, too")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("runs/replay"), help="tables and a picture")
    args = parser.parse_args()
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    weights = Path(args.model) if Path(args.model).exists() else data / "weights" / args.model
    clips = find_clips([Path(clip) if Path(clip).exists() else data / clip for clip in args.clip])
    size = (args.size[0], args.size[1])
    contents = recorded(clips, weights, size, args.content / f"{weights.stem}-{size[0]}x{size[1]}")
    options = replace(
        TrialOptions(), edge_ms=curve(args.edge), cloud_ms=curve(args.cloud), seconds=args.seconds,
        with_optimum=not args.no_optimum,
    )  # fmt: skip
    links = {tier: spread(traces, args.traces) for tier, traces in tiers(data / "traces").items()}
    started = time.perf_counter()

    def show(done: int, count: int) -> None:
        print(f"\rreplaying: {done}/{count} links", end="", file=sys.stderr)

    outcomes = run_trials(links, contents, options, workers=args.workers, on_done=show)
    took = time.perf_counter() - started
    figures = pool(outcomes)
    head = (
        f"{weights.stem} at {size[0]}x{size[1]}, planned reuse; edge {args.edge}, cloud {args.cloud}; {args.traces} "
        f"traces per tier, {args.seconds:g} s each; mean / p95 / p99 / max ms. {took:.0f} s on {cpu_name()}\n"
    )
    parts = [head, describe(contents), *(overview(figures, payload).markdown() for payload in PAYLOADS)]
    parts += [against_oracle(figures, "hedged, warm").markdown(), payload_and_predictor(figures).markdown()]
    full = [details(figures, tier, payload).markdown() for payload in PAYLOADS for tier in links]
    print("\n" + "\n".join(parts + (full if args.details else [])))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "tables.md").write_text("\n".join(parts + full), encoding="utf-8")
    draw_tails(outcomes, args.out / "tails.png")


if __name__ == "__main__":
    main()
