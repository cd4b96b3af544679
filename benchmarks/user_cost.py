"""What a user pays for a frame of video, against the fastest dense engine of the same precision, in one run.

    python -m benchmarks.user_cost --model yolo11n-seg.pt --size 384 640 --clip davis/JPEGImages/480p/camel ...
    python -m benchmarks.user_cost --seeded yolo11m-seg.yaml --size 1024 --frames 10 --rounds 2

A planned frame counts with all of it: the image test, planning, the network, decoding and regions. Dense engines run
the network alone. All take the same uint8 pictures. Contenders run in blocks of frames, one after the other: threads of
one that still spin would take the cores of the next. Ratios are within a round of blocks; medians over rounds are
shown. Dense engines in int8, which FluxShard has not, are measured after the others, and no cost is over them.
The goal for YOLO11n-seg at 384x640: at most the compute ratio + 0.10, and never more than 1.05.

`--seeded` takes an architecture with weights drawn from a seed. Such a network sees no objects: the regions are those
of `--regions`, which runs over the same frames beforehand, and is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import fluxshard
from benchmarks.dense_engines import NAMES, Engine, Picture, dense_engines, has_bfloat16
from benchmarks.frame import cpu_name
from fluxshard.models.loading import ultralytics
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.motion import MotionField
from fluxshard.options import DType
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.video.letterbox import to_planes

CLIPS = (
    "davis/JPEGImages/480p/camel", "davis/JPEGImages/480p/parkour", "davis/JPEGImages/480p/breakdance",
    "videos/carnd_solidWhiteRight_540p25.mp4", "videos/sam2_juggle_720p24.mp4",
)  # fmt: skip
CALIBRATION = 16  # pictures
Frames = list[tuple[Picture, MotionField | None]]
Regions = list[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One clip in one precision.

    Attributes:
      clip: its name; "every frame whole" is the first clip without any reuse.
      precision: of both.
      compute: mean compute ratio of frames after the first.
      cost: time of a frame over that of the fastest dense engine of the precision.
      ours_ms, dense_ms: medians over the rounds.
      dense: the fastest engine.
    """

    clip: str
    precision: str
    compute: float
    cost: float
    ours_ms: float
    dense_ms: float
    dense: str


def frames_of(source: Path, size: tuple[int, int], most: int) -> Frames:
    """Letterboxed pictures, as a camera's driver would give them, and their motion."""
    with fluxshard.video.open(source, size=size, max_frames=most) as video:
        return [(frame.pixels, frame.motion) for frame in video]


def block(run: Callable[[Picture, MotionField | None], object], frames: Frames) -> float:
    """Median milliseconds of the frames after the first."""
    times = []
    for picture, motion in frames:
        started = time.perf_counter()
        run(picture, motion)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times[1:])


def measure(
    model: fluxshard.CompiledModel,
    head: DetectionHead,
    frames: Frames,
    engines: Sequence[Engine],
    rounds: int,
    *,
    whole: bool,
    given: Regions | None,
) -> tuple[float, list[float], dict[str, list[float]]]:
    """Compute ratio, and milliseconds of a frame per round: of FluxShard, and of each engine by name.

    Args:
      model, head: what is measured, and what decodes its outputs.
      frames: of a clip.
      engines: its rivals.
      rounds: of all, after one that warms up.
      whole: no reuse.
      given: regions after each frame; None: those of its own detections.
    """
    ours: list[float] = []
    dense: dict[str, list[float]] = {engine.name: [] for engine in engines}
    compute = 0.0
    for number in range(rounds + 1):  # the first warms up
        for engine in engines:
            taken = block(lambda picture, _, run=engine.run: run(picture), frames)  # type: ignore[misc]
            dense[engine.name] += [taken] if number else []
        taken, compute = _our_block(model, head, frames, whole=whole, given=given)
        ours += [taken] if number else []
    return compute, ours, dense


def _our_block(
    model: fluxshard.CompiledModel, head: DetectionHead, frames: Frames, *, whole: bool, given: Regions | None
) -> tuple[float, float]:
    """Milliseconds and compute ratio of the frames after the first."""
    reuse = fluxshard.ReuseOptions(policy="planned")
    ratios = []
    with model.session(reuse) as session, torch.inference_mode():
        focused = session if given is None else _Guided(session, given)
        loop = StreamLoop(session=focused, detect=head, objects=reuse.planned)  # type: ignore[arg-type]

        def step(picture: Picture, motion: MotionField | None) -> None:
            if whole:
                session.reset()
            loop.step(to_planes(picture), motion)
            ratios.append(session.stats.compute_ratio)

        return block(step, frames), statistics.mean(ratios[1:])


class _Guided:
    """A session that is focused on given regions, frame by frame, in the place of those that it is given."""

    def __init__(self, session: fluxshard.Session, given: Regions) -> None:
        self._session = session
        self._given = iter(given)

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def focus(self, _: NDArray[np.uint8]) -> None:
        """See `StreamSession.focus`."""
        self._session.focus(next(self._given))


def regions_of(giver: LoadedModel, frames: Frames, size: tuple[int, int]) -> Regions:
    """What a network with real weights sees as regions after each frame, under the same reuse."""
    assert giver.layout is not None
    reuse = fluxshard.ReuseOptions(policy="planned")
    with _compiled(giver.net, size, "float32").session(reuse) as session, torch.inference_mode():
        head = DetectionHead(giver.layout, size, confidence=0.1)
        loop = StreamLoop(session=session, detect=head, objects=reuse.planned)
        marked = [loop.step(to_planes(picture), motion).regions for picture, motion in frames]
    return [found for found in marked if found is not None]


def seeded(name: str) -> LoadedModel:
    """An architecture of Ultralytics with weights from a seed; batch norms keep its features near their usual size."""
    from ultralytics import YOLO

    torch.manual_seed(0)
    net = YOLO(name).model.train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of the one batch that follows
    with torch.no_grad():
        net(torch.rand(2, 3, 256, 256))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"{Path(name).stem}.pt"
        torch.save({"model": net.eval()}, path)
        return ultralytics.load(path)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n-seg.pt", help="weights, looked for in FLUXSHARD_DATA/weights")
    parser.add_argument("--seeded", default=None, help="an architecture, such as yolo11m-seg.yaml, instead of weights")
    parser.add_argument("--regions", default="yolo11n-seg.pt", help="weights of what gives --seeded its regions")
    parser.add_argument("--size", type=int, nargs="+", default=[384, 640], help="H W, or one number for a square")
    parser.add_argument("--clip", nargs="+", default=list(CLIPS), help="videos, looked for in FLUXSHARD_DATA")
    parser.add_argument("--calibration", default="videos/sam2_woman_dog_720p30.mp4", help="video, for int8 engines")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--engines", nargs="+", default=list(NAMES), choices=NAMES, help="rivals")
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    args = parser.parse_args()
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    size = (args.size[0], args.size[-1])
    weights = _found(args.model, data / "weights")
    loaded = ultralytics.load(weights) if args.seeded is None else seeded(args.seeded)
    network = weights.name if args.seeded is None else f"{Path(args.seeded).stem}, seeded"
    assert loaded.layout is not None
    calibration = [picture for picture, _ in frames_of(_found(args.calibration, data), size, 10 * CALIBRATION)[::10]]
    engines, missing = dense_engines(loaded.net, size, calibration, args.engines)
    clips = [_found(clip, data) for clip in args.clip]
    inputs = {clip.stem: frames_of(clip, size, args.frames) for clip in clips}
    given: dict[str, Regions] = {}
    if args.seeded is not None:
        path = _found(args.regions, data / "weights")
        given = {clip: regions_of(ultralytics.load(path), frames, size) for clip, frames in inputs.items()}
    head = DetectionHead(loaded.layout, size, confidence=0.1, owns=True)
    rows: list[Row] = []
    table: dict[str, list[float]] = {}
    for dtype in args.dtype:
        if dtype == "bfloat16" and not has_bfloat16():
            continue
        rivals = [engine for engine in engines if engine.precision == dtype]
        if not rivals:
            missing.append(f"{dtype}: no dense engine to compare with")
            continue
        model = _compiled(loaded.net, size, dtype)
        for clip, whole in [(next(iter(inputs)), True), *((name, False) for name in inputs)]:
            compute, ours, dense = measure(
                model, head, inputs[clip], rivals, args.rounds, whole=whole, given=given.get(clip)
            )
            medians = {name: statistics.median(times) for name, times in dense.items()}
            fastest = min(medians, key=medians.__getitem__)
            for name, times in dense.items():
                table.setdefault(name, []).extend(times)
            rows.append(Row(
                clip="every frame whole" if whole else clip, precision=dtype, compute=compute,
                cost=statistics.median(a / b for a, b in zip(ours, dense[fastest], strict=True)),
                ours_ms=statistics.median(ours), dense_ms=medians[fastest], dense=fastest,
            ))  # fmt: skip
            print(_line(rows[-1]), flush=True)
    first = next(iter(inputs.values()))
    for engine in engines:  # of precisions that FluxShard has not
        if engine.name not in table:
            table[engine.name] = [
                block(lambda picture, _, run=engine.run: run(picture), first) for _ in range(args.rounds)
            ]  # type: ignore[misc]
    heading = f"{network} at {size[0]}x{size[1]}, {cpu_name()}, {torch.get_num_threads()} threads"
    print(f"\n{heading}, torch {torch.__version__}\n")
    print("| clip | precision | compute ratio | cost | cost - compute | ms | fastest dense, ms | |")
    print("|---|---|---:|---:|---:|---:|---:|---|")
    for row in rows:
        print(_line(row))
    print("\n| dense engine | median ms |\n|---|---:|")
    for name, times in table.items():
        print(f"| {name} | {statistics.median(times):.1f} |")
    for reason in missing:
        print(f"not measured: {reason}")
    if args.out:
        args.out.write_text(json.dumps({"network": heading, "rows": [asdict(row) for row in rows], "dense": table}))


def _found(place: str, data: Path) -> Path:
    return Path(place) if Path(place).exists() else data / place


def _compiled(net: torch.nn.Module, size: tuple[int, int], dtype: DType) -> fluxshard.CompiledModel:
    return fluxshard.compile(
        net, torch.zeros(1, 3, *size), options=fluxshard.CompileOptions(backend="cpp", dtype=dtype)
    )


def _line(row: Row) -> str:
    return (
        f"| {row.clip} | {row.precision} | {row.compute:.3f} | {row.cost:.3f} | {row.cost - row.compute:+.3f} "
        f"| {row.ours_ms:.1f} | {row.dense_ms:.1f} | {row.dense} |"
    )


if __name__ == "__main__":
    main()
