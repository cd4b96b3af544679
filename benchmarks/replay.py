"""Dispatch over recorded links: who answers a frame, when, and how far that is from an oracle; no network, no sockets.

    python -m benchmarks.replay
    python -m benchmarks.replay --case seg --traces 4 --no-optimum --details
    python -m benchmarks.replay --case pose --edge EDGE.json --cloud SERVER.json     # latency profiles instead

What every frame of the clips recomputes and takes in bytes, for caches of every age, is recorded first, once, into
--out. That takes minutes, and runs image tests and dense frames. The replays themselves simulate time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fluxshard
from benchmarks.frame import cpu_name
from fluxshard.evaluate.data.clips import Clip, find_clips
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.offload.content.recorded_content import PAYLOADS, RecordedContent
from fluxshard.evaluate.offload.content.recorder import RecordingOptions, record_content
from fluxshard.evaluate.offload.link_trace import LinkTrace, tiers
from fluxshard.evaluate.offload.report import (
    against_oracle,
    as_json,
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

CURVES = {"xavier-nx-pose": XAVIER_NX_POSE, "xavier-nx-seg": XAVIER_NX_SEG, "paper-server": SERVER}
POLICY = "hedged, warm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is replayed.

    Attributes:
      weights: in FLUXSHARD_DATA/weights.
      clip: a video, or a directory of clips, in FLUXSHARD_DATA.
      edge: name of the edge's curve.
    """

    weights: str
    clip: str
    edge: str


CASES = {
    "pose": Case(weights="yolo11n-pose.pt", clip="videos/openpose_street_720p50.avi", edge="xavier-nx-pose"),
    "seg": Case(weights="yolo11n-seg.pt", clip="davis", edge="xavier-nx-seg"),
}


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
        options = RecordingOptions(reuse=fluxshard.ReuseOptions(policy="planned"), max_frames=240)
        for clip in missing:

            def show(done: int, count: int, name: str = clip.name) -> None:
                print(f"\rrecording {name}: {done}/{count} frames", end="", file=sys.stderr, flush=True)

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


def run_case(name: str, data: Path, links: dict[str, list[LinkTrace]], args: argparse.Namespace) -> None:
    """Records and replays one case; prints tables, and writes them with all figures and a picture."""
    case, size = CASES[name], (args.size[0], args.size[1])
    folder = args.out / "content" / f"{Path(case.weights).stem}-{size[0]}x{size[1]}"
    contents = recorded(find_clips([data / case.clip]), data / "weights" / case.weights, size, folder)
    edge = args.edge or case.edge
    options = TrialOptions(
        edge_ms=curve(edge), cloud_ms=curve(args.cloud), seconds=args.seconds, with_optimum=not args.no_optimum
    )
    started = time.perf_counter()

    def show(done: int, count: int) -> None:
        passed = time.perf_counter() - started
        print(f"\r{name}: {done}/{count} links in {passed:.0f} s", end="", file=sys.stderr, flush=True)

    outcomes = run_trials(links, contents, options, workers=args.workers, on_done=show)
    took = time.perf_counter() - started
    print(file=sys.stderr)
    figures = pool(outcomes)
    counts = ", ".join(f"{tier} {len(traces)}" for tier, traces in links.items())
    head = (
        f"{case.weights} at {size[0]}x{size[1]}, planned reuse; edge {edge}, cloud {args.cloud}; traces per tier: "
        f"{counts}, {args.seconds:g} s each; mean / p95 / p99 / max ms. {took:.0f} s on {cpu_name()}\n"
    )
    parts = [head, describe(contents), *(overview(figures, payload).markdown() for payload in PAYLOADS)]
    parts += [against_oracle(figures, POLICY).markdown(), payload_and_predictor(figures).markdown()]
    full = [details(figures, tier, payload).markdown() for payload in PAYLOADS for tier in links]
    print("\n" + "\n".join(parts + (full if args.details else [])), flush=True)
    (args.out / f"{name}.md").write_text("\n".join(parts + full), encoding="utf-8")
    facts = {
        "case": name, "weights": case.weights, "size": size, "edge": edge, "cloud": args.cloud, "seconds": args.seconds,
        "traces": {tier: [trace.name for trace in traces] for tier, traces in links.items()},
        "content": {one.name: dict(one.facts) for one in contents}, "version": fluxshard.__version__,
        "cpu": cpu_name(), "took_s": took, "figures": as_json(figures),
    }  # fmt: skip
    (args.out / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    draw_tails(outcomes, args.out / f"{name}.png")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES), help="network and clips")
    parser.add_argument("--size", type=int, nargs=2, default=[384, 640], help="H W")
    parser.add_argument("--edge", help=f"{', '.join(CURVES)}, or a latency profile; by default the case's")
    parser.add_argument("--cloud", default="paper-server", help="the same")
    parser.add_argument("--traces", type=int, default=20, help="per tier")
    parser.add_argument("--seconds", type=float, default=40.0, help="of every trace")
    parser.add_argument("--no-optimum", action="store_true", help="leaves out what takes most of the time")
    parser.add_argument("--details", action="store_true", help="prints all figures, too")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("runs/replay"), help="content, tables, JSON, pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    links = {tier: spread(traces, args.traces) for tier, traces in tiers(data / "traces").items()}
    for name in args.case:
        run_case(name, data, links, args)


if __name__ == "__main__":
    main()
