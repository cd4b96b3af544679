"""Reuse on one clip in versions of several codecs, against the H.264 version whose own vectors are used.

    python -m benchmarks.versions
    python -m benchmarks.versions --clip davis/JPEGImages/480p/camel --frames 60

All versions are encoded here from the same pictures, at 40 dB PSNR or more. Reuse is 1 minus the mean compute ratio of
the frames after the first, with the shipped thresholds and the regions of the network's own detections. The goal:
every version reaches 0.95 of the reuse of H.264 with P pictures only and one reference, whose vectors all refer to the
picture before. Nothing is timed.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

import fluxshard
from fluxshard import video
from fluxshard.models.loading import ultralytics
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.stream_loop import StreamLoop

FPS = 25
LEAST_DB, GOAL = 40.0, 0.95


@dataclass(frozen=True, slots=True)
class Version:
    """How a clip is encoded."""

    name: str
    codec: str
    options: dict[str, str]
    pixels: str = "yuv420p"


VERSIONS = (
    Version("H.264, P only", "libx264", {"crf": "20", "x264-params": "bframes=0:ref=1:weightp=0"}),
    Version("H.264, B-frames, 3 references", "libx264", {"crf": "20", "x264-params": "bframes=3:ref=3"}),
    Version("HEVC", "libx265", {"crf": "20", "preset": "fast", "x265-params": "log-level=none"}),
    Version("VP9", "libvpx-vp9", {"crf": "24", "b": "0", "cpu-used": "5", "deadline": "good"}),
    Version("AV1", "libsvtav1", {"crf": "16", "preset": "10"}),
    Version("MJPEG", "mjpeg", {"b": "500000000", "qmin": "2", "qmax": "3"}, "yuvj420p"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One version, run.

    Attributes:
      name: of the version.
      psnr_db: of its pictures, over all samples, against those that were encoded.
      compute: mean compute ratio of the frames after the first.
      motion: where the motion of these frames came from, and how often.
    """

    name: str
    psnr_db: float
    compute: float
    motion: dict[str, int]


def pictures_of(clip: Path, most: int) -> list[NDArray[np.uint8]]:
    """The clip's first pictures, with even sides."""
    with video.open(clip, max_frames=most, vectors="none") as source:
        return [
            np.ascontiguousarray(frame.picture[: frame.picture.shape[0] // 2 * 2, : frame.picture.shape[1] // 2 * 2])
            for frame in source
        ]


def encode(path: Path, pictures: Sequence[NDArray[np.uint8]], version: Version) -> Path:
    """Writes a version of a clip."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(version.codec, rate=FPS)
        stream.options = dict(version.options)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], version.pixels
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=version.pixels)
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def psnr_db(path: Path, pictures: Sequence[NDArray[np.uint8]], version: Version) -> float:
    """Over all samples of all pictures; the error that comes from the encoder alone, not from RGB."""
    squares, samples = 0.0, 0
    with av.open(str(path)) as container:
        for frame, picture in zip(container.decode(video=0), pictures, strict=True):
            wanted = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=version.pixels)
            difference = frame.to_ndarray().astype(np.int32) - wanted.to_ndarray()
            squares, samples = squares + float(np.square(difference).sum()), samples + difference.size
    return 10 * math.log10(255**2 * samples / max(squares, 1.0))


def run(
    model: fluxshard.CompiledModel, loop_of: LoopOf, path: Path, size: tuple[int, int]
) -> tuple[float, Counter[str]]:
    """Mean compute ratio over the frames after the first, and where their motion came from."""
    ratios, motion = [], Counter[str]()
    with model.session() as session, video.open(path, size=size) as source, torch.inference_mode():
        loop = loop_of(session)
        for frame in source:
            loop.step(frame.planes, frame.motion, frame)
            ratios.append(session.stats.compute_ratio)
            motion[frame.motion_source] += 1
    motion["none"] -= 1  # of the first
    return statistics.mean(ratios[1:]), +motion


class LoopOf:
    """Loops over sessions of one detector.

    Args:
      loaded: the network.
      size: (H, W) of its images.
    """

    def __init__(self, loaded: LoadedModel, size: tuple[int, int]) -> None:
        assert loaded.layout is not None
        self._objects = fluxshard.ReuseOptions(policy="planned").planned
        self._head = DetectionHead(loaded.layout, size, confidence=self._objects.region_confidence)

    def __call__(self, session: fluxshard.Session) -> StreamLoop:
        """A loop over a new stream."""
        return StreamLoop(session=session, detect=self._head, objects=self._objects, whole=session.run_whole)


def measure(
    pictures: Sequence[NDArray[np.uint8]], model: fluxshard.CompiledModel, loop_of: LoopOf, size: tuple[int, int]
) -> list[Row]:
    """Runs all versions of a clip."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for number, version in enumerate(VERSIONS):
            path = encode(Path(place) / f"{number}.mkv", pictures, version)
            compute, motion = run(model, loop_of, path, size)
            rows.append(Row(version.name, psnr_db(path, pictures, version), compute, dict(motion)))
    return rows


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n.pt", help="weights, looked for in FLUXSHARD_DATA/weights")
    parser.add_argument("--clip", default="videos/sam2_woman_dog_720p30.mp4", help="looked for in FLUXSHARD_DATA")
    parser.add_argument("--size", type=int, nargs=2, default=[384, 640], help="H W")
    parser.add_argument("--frames", type=int, default=60)
    args = parser.parse_args()
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    clip = Path(args.clip) if Path(args.clip).exists() else data / args.clip
    weights = Path(args.model) if Path(args.model).exists() else data / "weights" / args.model
    size = (args.size[0], args.size[1])
    loaded = ultralytics.load(weights)
    model = fluxshard.compile(loaded.net, torch.zeros(1, 3, *size))
    rows = measure(pictures_of(clip, args.frames), model, LoopOf(loaded, size), size)
    first = 1 - rows[0].compute
    print(f"{weights.name} at {size[0]}x{size[1]} on {args.frames} frames of {clip.stem}\n")
    print("| version | PSNR dB | compute ratio | reuse over that of P only | motion from |\n|---|---:|---:|---:|---|")
    for row in rows:
        motion = ", ".join(f"{name} {count}" for name, count in row.motion.items())
        share = (1 - row.compute) / first
        flaw = " (below the goal)" if share < GOAL else ""
        flaw += " (too coarse)" if row.psnr_db < LEAST_DB else ""
        print(f"| {row.name} | {row.psnr_db:.1f} | {row.compute:.3f} | {share:.3f}{flaw} | {motion} |")


if __name__ == "__main__":
    main()
