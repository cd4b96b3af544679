"""Bytes and milliseconds of what an edge sends of a frame, for every payload, on the same frames in one run.

    python -m benchmarks.payloads --clip davis/JPEGImages/480p/parkour davis/JPEGImages/480p/camel

The masks are those of planned reuse with a network of real weights. Every frame goes through all payloads, in turns,
and every payload is decoded and compared before it counts. The keyframe of a clip, which is sent whole, has a column of
its own. Prints a Markdown table: medians over frames of bytes, and of milliseconds to encode and to decode. Its last
rows are the motion that goes along: as the video gives it, and as the network's levels have chosen it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import fluxshard
from benchmarks.frame import cpu_name
from benchmarks.planned import frames_of
from fluxshard.cloud.wire.jpeg_payload import JpegPayload
from fluxshard.cloud.wire.motion.motion_codec import LevelMotionCodec
from fluxshard.cloud.wire.packed_payload import PackedPayload
from fluxshard.cloud.wire.payload import Payload
from fluxshard.cloud.wire.pixels.median_predictor import ReferenceMedianPredictor
from fluxshard.cloud.wire.raw_payload import RawPayload
from fluxshard.models.loading import ultralytics
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.level_motion import Motion

LOSSY = ("jpeg",)
REPEATS = 3  # of a keyframe: there is one in a clip
MOTIONS = ("motion, as given", "motion, as levels chose it")

Sent = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.uint8]]  # pixels, mask, what the receiver has


@dataclass(slots=True)
class Clip:
    """What an edge sends of a clip.

    Attributes:
      frames: pixels of every frame.
      hints, motions: of the frames after the first: motion as given, and as levels chose it.
    """

    frames: list[Sent] = field(default_factory=list)
    hints: list[Motion] = field(default_factory=list)
    motions: list[Motion] = field(default_factory=list)


@dataclass(slots=True)
class Figures:
    """One payload on some frames.

    Attributes:
      n_bytes, encode_ms, decode_ms: per frame.
    """

    n_bytes: list[float] = field(default_factory=list)
    encode_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)

    def text(self) -> str:
        """Medians: bytes (encode / decode ms)."""
        size, encode, decode = map(statistics.median, (self.n_bytes, self.encode_ms, self.decode_ms))
        return f"{size:,.0f} ({encode:.1f} / {decode:.1f})".replace(",", " ")


def frames_to_send(net: LoadedModel, clip: Path, size: tuple[int, int], most: int) -> tuple[Clip, LevelMotionCodec]:
    """Frames with the pixels that planned reuse recomputes, and the frame before each."""
    assert net.layout is not None
    reuse = fluxshard.ReuseOptions(policy="planned", input="assembled")
    model = fluxshard.compile(net.net)
    orders = work_orders(model.specialise(torch.zeros(1, 3, *size)).program.engine.plan, reuse)
    found = Clip()
    head = DetectionHead(net.layout, size, confidence=reuse.planned.region_confidence)
    sent = found.frames
    with model.session(reuse) as session, torch.inference_mode():
        loop = StreamLoop(session=session, detect=head, objects=reuse.planned)
        for image, motion in frames_of(clip, size, most):
            loop.step(image, motion)
            pixels = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy().copy()
            assert session.planned is not None
            work = session.planned.work
            mask = np.ones(size, np.bool_) if work is None else work[0].copy()
            sent.append((pixels, mask, sent[-1][0] if sent else np.zeros_like(pixels)))
            if motion is not None:
                found.hints.append(motion)
                chosen = session.planned.proposal
                found.motions.append(motion if chosen is None or chosen.motion is None else chosen.motion)
    return found, LevelMotionCodec(size, orders.levels, orders.grids)


def contenders(height: int, width: int) -> dict[str, Payload]:
    """All payloads of this machine."""
    found: dict[str, Payload] = {
        "raw": RawPayload(height, width),
        "packed": PackedPayload(height, width),
        "packed, without a compiler": PackedPayload(height, width, predictor=ReferenceMedianPredictor()),
        "jpeg": JpegPayload(height, width),
    }
    return found


def measure(payloads: Mapping[str, Payload], frames: Sequence[Sent]) -> dict[str, Figures]:
    """Every frame through every payload."""
    figures = {name: Figures() for name in payloads}
    for number, (pixels, mask, cached) in enumerate(frames):
        names = list(payloads)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            data = payloads[name].encode(pixels, mask)
            encoded = time.perf_counter()
            found = payloads[name].decode(data, mask, cached)
            decoded = time.perf_counter()
            assert (found[~mask] == cached[~mask]).all()
            assert name in LOSSY or (found[mask] == pixels[mask]).all()
            figures[name].n_bytes.append(len(data))
            figures[name].encode_ms.append((encoded - started) * 1e3)
            figures[name].decode_ms.append((decoded - encoded) * 1e3)
    return figures


def measure_motion(codec: LevelMotionCodec, motions: Sequence[Motion]) -> Figures:
    """Motion of every frame, encoded and decoded."""
    figures = Figures()
    for motion in motions:
        started = time.perf_counter()
        data = codec.encode(motion)
        encoded = time.perf_counter()
        codec.decode(data)
        figures.n_bytes.append(len(data))
        figures.encode_ms.append((encoded - started) * 1e3)
        figures.decode_ms.append((time.perf_counter() - encoded) * 1e3)
    return figures


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n-seg.pt", help="weights, looked for in FLUXSHARD_DATA/weights")
    parser.add_argument("--size", type=int, nargs="+", default=[384, 640], help="H W, or one number for a square")
    parser.add_argument("--clip", nargs="+", required=True, help="videos, looked for in FLUXSHARD_DATA")
    parser.add_argument("--frames", type=int, default=40)
    args = parser.parse_args()
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    size = (args.size[0], args.size[-1])
    weights = Path(args.model) if Path(args.model).exists() else data / "weights" / args.model
    net, payloads = ultralytics.load(weights), contenders(*size)
    columns: dict[str, dict[str, Figures]] = {}
    for clip in args.clip:
        place = Path(clip) if Path(clip).exists() else data / clip
        sent, codec = frames_to_send(net, place, size, args.frames)
        later = [frame for frame in sent.frames if not frame[1].all()]
        share = statistics.mean(float(mask.mean()) for _, mask, _ in later)
        motions = {MOTIONS[0]: sent.hints, MOTIONS[1]: sent.motions}
        columns[f"{place.stem}, {share:.0%} of the pixels"] = measure(payloads, later) | {
            name: measure_motion(codec, fields) for name, fields in motions.items()
        }
        columns[f"{place.stem}, keyframe"] = measure(payloads, sent.frames[:1] * REPEATS)
    print(
        f"{weights.name} at {size[0]}x{size[1]}, {args.frames} frames each, {cpu_name()}; bytes (encode / decode ms)\n"
    )
    print(f"| payload | {' | '.join(columns)} |")
    print(f"|---{'|---:' * len(columns)}|")
    for name in (*payloads, *MOTIONS):
        cells = (figures[name].text() if name in figures else "" for figures in columns.values())
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
