"""Clips of every kind, made here, and FFmpeg's own way to show them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace

from fluxshard.testing.pictures import Picture, texture

BARS = ((235, 235, 235), (200, 40, 30), (30, 190, 60), (40, 60, 210), (220, 210, 40), (16, 16, 16))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a clip is encoded and what its stream says of that."""

    codec: str = "libx264"
    pixels: str = "yuv420p"
    suffix: str = "mkv"
    matrix: Colorspace | None = None
    full_range: bool | None = None
    options: dict[str, str] = field(default_factory=lambda: {"crf": "8"})


def bars(height: int, width: int) -> Picture:
    """Colours above, a texture below."""
    picture = texture(height, width)
    step = max(1, width // len(BARS))
    for index, colour in enumerate(BARS):
        picture[: height // 2, index * step : (index + 1) * step] = colour
    return picture


def encode(path: Path, pictures: Iterable[Picture], kind: Kind, stamps: list[int] | None = None) -> Path:
    """Writes a clip at 25 frames per second.

    Args:
      path: without a suffix.
      pictures: `(H, W, 3)` uint8 RGB, all of one size.
      kind: of the clip.
      stamps: time stamps in 1/25 s.
    """
    path = path.with_suffix(f".{kind.suffix}")
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(kind.codec, rate=25)
        stream.options = dict(kind.options)
        codec = stream.codec_context
        for index, picture in enumerate(pictures):
            if index == 0:
                codec.height, codec.width = picture.shape[:2]
                codec.pix_fmt = kind.pixels
                if kind.matrix is not None:
                    codec.colorspace = {Colorspace.ITU709: 1, Colorspace.ITU601: 6, Colorspace.BT2020: 9}[kind.matrix]
                if kind.full_range is not None:
                    codec.color_range = int(ColorRange.JPEG if kind.full_range else ColorRange.MPEG)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
                format=kind.pixels,
                dst_colorspace=kind.matrix,
                dst_color_range=ColorRange.JPEG if kind.full_range else ColorRange.MPEG,
            )
            frame.pts, frame.time_base = index if stamps is None else stamps[index], Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown_by_ffmpeg(path: Path) -> list[Picture]:
    """What a graph of FFmpeg's filters makes of each decoded picture, as its player does before it shows them."""
    found: list[Picture] = []
    with av.open(f"file:{path}") as container:
        for frame in container.decode(video=0):
            graph = Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format.name, time_base=Fraction(1, 25)
            )
            scale = graph.add("scale", "flags=bilinear")
            wanted = graph.add("format", "rgb24")
            sink = graph.add("buffersink")
            source.link_to(scale)
            scale.link_to(wanted)
            wanted.link_to(sink)
            graph.configure()
            source.push(frame)
            found.append(sink.pull().to_ndarray())
    return found


def with_aspect(path: Path, aspect: Fraction, pictures: list[Picture], *, bframes: str = "0") -> Path:
    """Writes a film whose pixels are to be shown so many times as wide as high."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.options = {"crf": "4", "preset": "ultrafast", "x264-params": f"bframes={bframes}:b-adapt=0:ref=1"}
        codec = stream.codec_context
        codec.height, codec.width, codec.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        codec.sample_aspect_ratio = aspect
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_interlaced(path: Path, pictures: list[Picture]) -> list[Picture]:
    """Writes a film whose pictures hold two moments: even lines of one, odd lines of the next.

    Colours are subsampled within each moment, as interlaced cameras do.

    Returns:
      what each picture of the film is to look like.
    """
    height, width = pictures[0].shape[:2]

    def planes(field: Picture) -> list[Picture]:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(field), format="rgb24")
        values, luma = frame.reformat(format="yuv420p").to_ndarray().reshape(-1), height // 2 * width
        parts = np.split(values, [luma, luma + luma // 4])
        return [
            part.reshape(height // step, width // across)
            for part, step, across in zip(parts, (2, 4, 4), (1, 2, 2), strict=True)
        ]

    def woven(even: Picture, odd: Picture) -> Picture:
        return np.stack((even, odd), 1).reshape(2 * even.shape[0], *even.shape[1:])

    expected = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": "4", "preset": "ultrafast", "x264-params": "interlaced=1:tff=1:bframes=0"}
        for index, (first, second) in enumerate(itertools.pairwise(pictures)):
            both = zip(planes(first[0::2]), planes(second[1::2]), strict=True)
            values = np.concatenate([woven(even, odd).reshape(-1) for even, odd in both])
            frame = av.VideoFrame.from_ndarray(values.reshape(height * 3 // 2, width), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
            expected.append(woven(first[0::2], second[1::2]))
        container.mux(stream.encode(None))
    return expected
