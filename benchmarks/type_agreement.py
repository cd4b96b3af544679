"""How far what bfloat16 finds is from what float32 finds, on real video: with planned reuse, and computed whole.

    python -m benchmarks.type_agreement --model yolo11n-seg.pt --size 384 640 --clip davis/JPEGImages/480p/camel ...

Four streams run over the same frames: planned and whole, in both types. Planned streams are focused on their own
detections, so that what a type changes may change the work, too. F1 counts detections of all frames that match at a box
IoU of 0.5; mask IoU is the mean over all pairs that match.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import fluxshard
from benchmarks.frame import cpu_name
from benchmarks.user_cost import Frames, frames_of
from fluxshard.models.detections.agreement import compare, pooled
from fluxshard.models.detections.detections import Detections
from fluxshard.models.loading import ultralytics
from fluxshard.models.loading.loaded_model import HeadLayout
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.video.letterbox import to_planes

CLIPS = ("davis/JPEGImages/480p/camel", "davis/JPEGImages/480p/parkour")
PAIRS = (
    ("planned bfloat16", "planned float32"),
    ("planned float32", "whole float32"),
    ("planned bfloat16", "whole float32"),
    ("whole bfloat16", "whole float32"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a stream found.

    Attributes:
      frames: detections of each frame after the first.
      compute: mean compute ratio of these frames.
    """

    frames: list[Detections]
    compute: float


def run(
    model: fluxshard.CompiledModel, layout: HeadLayout, frames: Frames, size: tuple[int, int], confidence: float, *,
    whole: bool,
) -> Found:  # fmt: skip
    """Runs a stream; detections score above the confidence, and fainter ones are regions, too."""
    reuse = fluxshard.ReuseOptions(policy="planned")
    head = DetectionHead(layout, size, confidence=min(confidence, reuse.planned.region_confidence))
    found, ratios = [], []
    with model.session(reuse) as session, torch.inference_mode():
        loop = StreamLoop(session=session, detect=head, objects=reuse.planned)
        for picture, motion in frames:
            if whole:
                session.reset()
            seen = loop.step(to_planes(picture), motion).found
            assert seen is not None
            found.append(seen.select(seen.scores > confidence))
            ratios.append(session.stats.compute_ratio)
    return Found(found[1:], sum(ratios[1:]) / len(ratios[1:]))


def agreement(found: Sequence[Detections], reference: Sequence[Detections]) -> tuple[float, float]:
    """F1 over all frames, and mask IoU over all pairs."""
    compared = pooled([compare(one, other) for one, other in zip(found, reference, strict=True)])
    nothing = float("nan")
    return (
        nothing if compared.f1 is None else compared.f1,
        nothing if compared.mask_iou is None else compared.mask_iou,
    )


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n-seg.pt", help="weights, looked for in FLUXSHARD_DATA/weights")
    parser.add_argument("--size", type=int, nargs="+", default=[384, 640], help="H W, or one number for a square")
    parser.add_argument("--clip", nargs="+", default=list(CLIPS), help="videos, looked for in FLUXSHARD_DATA")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--confidence", type=float, default=0.25)
    args = parser.parse_args()
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    size = (args.size[0], args.size[-1])
    loaded = ultralytics.load(args.model if Path(args.model).exists() else data / "weights" / args.model)
    layout = loaded.layout
    assert layout is not None
    models = {
        dtype: fluxshard.compile(
            loaded.net, torch.zeros(1, 3, *size), options=fluxshard.CompileOptions(backend="cpp", dtype=dtype)
        )
        for dtype in ("float32", "bfloat16")
    }
    lines = []
    for clip in args.clip:
        frames = frames_of(Path(clip) if Path(clip).exists() else data / clip, size, args.frames)
        streams = {
            f"{kind} {dtype}": run(model, layout, frames, size, args.confidence, whole=kind == "whole")
            for dtype, model in models.items()
            for kind in ("planned", "whole")
        }
        for one, other in PAIRS:
            f1, overlap = agreement(streams[one].frames, streams[other].frames)
            shares = f"{streams[one].compute:.3f}, {streams[other].compute:.3f}"
            lines.append(f"| {Path(clip).stem} | {one} | {other} | {f1:.3f} | {overlap:.3f} | {shares} |")
    print(f"{args.model} at {size[0]}x{size[1]}, {cpu_name()}, confidence {args.confidence}, {args.frames} frames\n")
    print("| clip | stream | reference | F1 | mask IoU | compute ratios |\n|---|---|---|---:|---:|---:|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
