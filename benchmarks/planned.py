"""Wall clock of planned reuse against the same engine computing every frame whole, on real video, in one run.

    python -m benchmarks.planned --model yolo11n.pt --size 640 --clip davis/JPEGImages/480p/camel
    python -m benchmarks.planned --plan yolo11m --size 1024 --regions yolo11n-seg.pt --clip davis/JPEGImages/480p/camel

Every frame is run by both, in turns, so that a change of the machine's clock meets both. The goal: a frame costs at
most its compute ratio + 0.10 of a whole frame. `--plan` takes a network whose weights are not at hand, with seeded
ones: what is recomputed does not depend on them, only on the images and on the regions, which a network with real
weights gives. Noise, the last row, is the worst case: nothing can be reused.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import fluxshard
from benchmarks.frame import cpu_name
from benchmarks.plans import load_plan, seeded_weights
from fluxshard.backends import image_tests
from fluxshard.models.loading import ultralytics
from fluxshard.motion import MotionField
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.runtime.engines.cpp import CppEngine
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.runtime.threshold_profile import ThresholdProfile

Frames = list[tuple[torch.Tensor, MotionField | None]]


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one clip; the first frame, which fills the caches, is left out.

    Attributes:
      clip: its name.
      compute: mean compute ratio.
      cost: time of all planned frames over that of all whole frames.
      slowest: largest ratio of a frame to the median whole frame, over frames that are not computed whole.
      whole_ms, planned_ms, pre_ms: medians; the last is of what comes before the network.
    """

    clip: str
    compute: float
    cost: float
    slowest: float
    whole_ms: float
    planned_ms: float
    pre_ms: float


def frames_of(source: Path, size: tuple[int, int], most: int) -> Frames:
    """Frames of a video, placed on the network's grid."""
    with fluxshard.video.open(source, size=size, max_frames=most) as video:
        return [(frame.image, frame.motion) for frame in video]


def noise(size: tuple[int, int], count: int) -> Frames:
    """Pictures that have nothing in common."""
    random = torch.Generator().manual_seed(0)
    return [(torch.rand(1, 3, *size, generator=random), None) for _ in range(count)]


def regions_of(weights: Path, frames: Frames, reuse: fluxshard.ReuseOptions, canvas_px: int) -> list[NDArray[np.uint8]]:
    """What a network with real weights sees as regions, frame by frame, running the same reuse."""
    loaded = ultralytics.load(weights)
    assert loaded.layout is not None
    model = fluxshard.compile(loaded.net, options=fluxshard.CompileOptions(canvas_px=canvas_px))
    height, width = frames[0][0].shape[2:]
    shape = height + canvas_px, width + canvas_px
    head = DetectionHead(loaded.layout, shape, confidence=reuse.planned.region_confidence)
    result = []
    with model.session(reuse) as session, torch.inference_mode():
        loop = StreamLoop(session=session, detect=head, objects=reuse.planned)
        for image, motion in frames:
            marked = loop.step(image, motion).regions
            assert marked is not None  # the head is known, and planned reuse is told
            result.append(marked)
    return result


def measure(
    clip: str, planned: Session, whole: Session, frames: Frames, near: Sequence[NDArray[np.uint8]] | None
) -> Row:
    """Runs every frame on both."""
    times: dict[str, list[float]] = {"planned": [], "whole": [], "pre": []}
    compute, kept = [], []
    with torch.inference_mode():
        for index, (image, motion) in enumerate(frames):
            for name in ("planned", "whole") if index % 2 else ("whole", "planned"):
                started = time.perf_counter()
                if name == "planned":
                    planned.run(image, motion)
                    if near is not None:
                        planned.focus(near[index])
                else:
                    whole.reset()
                    whole.run(image)
                times[name].append((time.perf_counter() - started) * 1e3)
            times["pre"].append(planned.stats.edge_pre_ms)
            compute.append(planned.stats.compute_ratio)
            kept.append(not planned.stats.keyframe)
    later = {name: values[1:] for name, values in times.items()}
    typical = statistics.median(later["whole"])
    slow = [ms / typical for ms, is_kept in zip(later["planned"], kept[1:], strict=True) if is_kept]
    return Row(
        clip=clip,
        compute=statistics.mean(compute[1:]),
        cost=sum(later["planned"]) / sum(later["whole"]),
        slowest=max(slow, default=float("nan")),
        whole_ms=typical,
        planned_ms=statistics.median(later["planned"]),
        pre_ms=statistics.median(later["pre"]),
    )


def plan_session(name: str, size: int, reuse: fluxshard.ReuseOptions) -> tuple[Session, Session]:
    """Sessions of a network of seeded weights: the reuse, and one to compute everything."""
    from fluxshard.codegen.common.toolchain import detect_target
    from fluxshard.codegen.cpp import build_step

    plan = load_plan(name, size)
    engine = CppEngine(plan, build_step(plan, detect_target("native")), seeded_weights(plan))
    program = Program(engine, lambda leaves: leaves, make_test=image_tests(plan, fluxshard.CompileOptions()))
    return Session(lambda _: program, reuse), Session(lambda _: program, fluxshard.ReuseOptions())


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n.pt", help="weights, looked for in FLUXSHARD_DATA/weights")
    parser.add_argument("--plan", default=None, help="a network of benchmarks/plans instead, with seeded weights")
    parser.add_argument("--regions", default=None, help="weights of the network that gives regions; those of --model")
    parser.add_argument(
        "--profile", type=Path, default=None, help="calibrated threshold profile; the shipped thresholds unless given"
    )
    parser.add_argument("--size", type=int, nargs="+", default=[640], help="H W, or one number for a square")
    parser.add_argument("--clip", nargs="+", required=True, help="videos, looked for in FLUXSHARD_DATA")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--canvas", action="store_true", help="phase-locked canvas (a profile says so itself)")
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    args = parser.parse_args()
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    size = (args.size[0], args.size[-1])
    reuse, canvas_px = fluxshard.ReuseOptions(policy="planned"), 32 if args.canvas else 0
    if args.profile is not None:
        profile = ThresholdProfile.load(args.profile)
        reuse, canvas_px = profile.reuse, profile.canvas_px
    if args.plan is not None and args.canvas:
        parser.error("plans are for one size: --plan takes no canvas")
    canvas_px = 0 if args.plan is not None else canvas_px

    def weights(name: str) -> Path:
        return Path(name) if Path(name).exists() else data / "weights" / name

    giver = weights(args.regions or args.model)
    rows = []
    net = None if args.plan else ultralytics.load(weights(args.model)).net
    if net is not None:
        moving = fluxshard.compile(net, options=fluxshard.CompileOptions(canvas_px=canvas_px))
        still = moving if not canvas_px else fluxshard.compile(net)
    for clip in [*args.clip, "noise"]:
        place = Path(clip) if Path(clip).exists() else data / clip
        frames = noise(size, 12) if clip == "noise" else frames_of(place, size, args.frames)
        near = None if clip == "noise" else regions_of(giver, frames, reuse, canvas_px)
        if net is None:
            planned, whole = plan_session(args.plan, size[0], reuse)
        else:
            planned, whole = moving.session(reuse), still.session()
        rows.append(measure(place.stem, planned, whole, frames, near))
    label = args.plan or weights(args.model).name
    print(f"{label} at {size[0]}x{size[1]}, {cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"thresholds: {'shipped' if args.profile is None else args.profile.name}, canvas {canvas_px} px\n")
    columns = (
        "compute ratio",
        "cost of a frame",
        "cost - compute",
        "slowest frame",
        "whole ms",
        "planned ms",
        "pre ms",
    )
    print(f"| clip | {' | '.join(columns)} |")
    print(f"|---{'|---:' * len(columns)}|")
    for row in rows:
        print(
            f"| {row.clip} | {row.compute:.3f} | {row.cost:.3f} | {row.cost - row.compute:+.3f} | {row.slowest:.2f} "
            f"| {row.whole_ms:.1f} | {row.planned_ms:.1f} | {row.pre_ms:.2f} |"
        )
    if args.out:
        args.out.write_text(json.dumps({"cpu": cpu_name(), "network": label, "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
