"""How well a latency profile of one clip predicts what frames of another take.

    python -m benchmarks.latency_profile
    python -m benchmarks.latency_profile --model yolo11n-seg.pt --policy planned --clip A.mp4 --other B.mp4 C.mp4

Every other clip is run frame by frame, as a stream would be, after the profile was measured on the first clip. Errors
are |predicted - measured| / measured: of the profile alone, and as a stream uses it (`OnlineLatency`), which follows
a machine or content that is slower or faster than the profiled one; the first 20 frames of each clip are left out
there. Run it on a machine that does nothing else: another program's load is an error here.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import fluxshard
from benchmarks.frame import cpu_name
from fluxshard.models.loading import ultralytics
from fluxshard.motion import MotionField
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.profiling.measure import Clip, MeasuredFrame, measure_frames
from fluxshard.pipeline.profiling.profile_latency import profile_latency
from fluxshard.pipeline.profiling.schedule import ProfilingOptions
from fluxshard.pipeline.profiling.synthetic_clip import synthetic_clip
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.runtime.offload.online_latency import OnlineLatency

MADE_UP = "made-up"
SETTLED = 20  # frames until a stream knows by how much a profile is off
REUSE = {
    "planned": fluxshard.ReuseOptions(policy="planned"),
    "propagated": fluxshard.ReuseOptions(tau_input=0.02, tau=0.1),
}


@dataclass(frozen=True, slots=True)
class Row:
    """Errors of one profile on one clip; medians.

    Attributes:
      model, policy: that was profiled.
      profiled: clip of the profile.
      clip: whose frames are predicted.
      left_out: error on the profile's own clip, by cross-validation.
      alone: error of the profile on the other clip.
      bias: median of (predicted - measured) / measured.
      followed: error as a stream uses the profile.
      work: median predicted work.
      ms: median measured latency.
    """

    model: str
    policy: str
    profiled: str
    clip: str
    left_out: float
    alone: float
    bias: float
    followed: float
    work: float
    ms: float


def clip_of(source: str, data: Path, size: tuple[int, int]) -> Clip:
    """A video, looked for in FLUXSHARD_DATA; or moving pictures that are made up."""
    place = Path(source) if Path(source).exists() else data / source

    def opened() -> Iterator[tuple[Tensor, MotionField | None]]:
        if source == MADE_UP:
            yield from synthetic_clip(size)
            return
        with fluxshard.video.open(place, size=size) as frames:
            for frame in frames:
                yield frame.planes, frame.motion

    return opened


def errors(model: LatencyModel, frames: Sequence[MeasuredFrame]) -> tuple[list[float], list[float]]:
    """Relative errors of every frame: of the profile alone, and of a stream that follows it."""
    online, alone, followed = OnlineLatency.from_profile(model), [], []
    for frame in frames:
        alone.append(model.predict_ms(frame.work) / frame.ms - 1)
        followed.append((online.predict_ms(frame.work) or 0.0) / frame.ms - 1)
        online = online.after(frame.work, frame.ms)
    return alone, followed[SETTLED:]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", nargs="+", default=["yolo11n-seg.pt", "yolo11n-pose.pt"],
        help="weights, looked for in FLUXSHARD_DATA/weights",
    )  # fmt: skip
    parser.add_argument("--policy", nargs="+", choices=list(REUSE), default=list(REUSE))
    parser.add_argument("--size", type=int, nargs=2, default=[384, 640], help="H W")
    parser.add_argument("--clip", default="videos/sam2_woman_dog_720p30.mp4", help=f"profiled; or {MADE_UP}")
    parser.add_argument(
        "--other", nargs="+", default=["videos/openpose_street_720p50.avi", "davis/JPEGImages/480p/camel"],
        help="clips whose frames are predicted",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, default=160, help="of the profile, and of every other clip")
    parser.add_argument("--threads", type=int, default=None, help="of torch; as it chooses unless given")
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    args = parser.parse_args()
    if args.frames <= SETTLED:
        parser.error(f"--frames must be above {SETTLED}: so many are left out")
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    size = (args.size[0], args.size[1])
    rows = []
    for name in args.model:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # weights run code; whoever calls this trusts theirs
            loaded = ultralytics.load(Path(name) if Path(name).exists() else data / "weights" / name)
        assert loaded.layout is not None
        model = fluxshard.compile(loaded.net, torch.zeros(1, 3, *size))
        if args.threads is not None:
            torch.set_num_threads(args.threads)
        for policy in args.policy:
            reuse = REUSE[policy]
            head = DetectionHead(loaded.layout, size, confidence=reuse.planned.region_confidence)
            spread = ProfilingOptions(frames=args.frames)
            detect = None if args.clip == MADE_UP else head
            profile = profile_latency(model, clip_of(args.clip, data, size), reuse, spread, detect=detect).profile
            for other in args.other:
                stream = ProfilingOptions(frames=args.frames, scales=(1.0,), gaps=(1,), keyframe_share=0.0)
                frames = list(measure_frames(model, clip_of(other, data, size), reuse, stream, detect=head))
                alone, followed = errors(profile.model, frames)
                row = Row(
                    Path(name).stem, policy, Path(args.clip).stem, Path(other).stem, profile.model.error,
                    float(np.median(np.abs(alone))), float(np.median(alone)), float(np.median(np.abs(followed))),
                    float(np.median([frame.work[0] for frame in frames])),
                    float(np.median([frame.ms for frame in frames])),
                )  # fmt: skip
                rows.append(row)
    print(f"{size[0]}x{size[1]}, {cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    columns = ("profile's own", "profile alone", "bias", "followed", "work", "ms")
    print(f"| model | policy | profiled | predicted | {' | '.join(columns)} |")
    print(f"|---|---|---|---{'|---:' * len(columns)}|")
    for row in rows:
        print(
            f"| {row.model} | {row.policy} | {row.profiled} | {row.clip} | {row.left_out:.1%} | {row.alone:.1%} "
            f"| {row.bias:+.1%} | {row.followed:.1%} | {row.work:.2f} | {row.ms:.1f} |"
        )
    if args.out:
        args.out.write_text(json.dumps({"cpu": cpu_name(), "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
