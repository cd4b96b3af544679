"""What a person sees in a player is what the network gets, for all that is filmed and encoded out there."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from fluxshard import video
from tests.unit.video.sources.displayed import Kind, bars, encode, shown_by_ffmpeg

LOSSLESS = {"crf": "4", "preset": "ultrafast"}
X265 = {"x265-params": "log-level=none:crf=4"}
VP9 = {"crf": "4", "b": "0"}


@pytest.mark.parametrize(
    "kind",
    [
        Kind(options=LOSSLESS),
        Kind(options=LOSSLESS, matrix=Colorspace.ITU601, full_range=False),
        Kind(options=LOSSLESS, matrix=Colorspace.ITU601, full_range=True),
        Kind(options=LOSSLESS, matrix=Colorspace.ITU709, full_range=False),
        Kind(options=LOSSLESS, matrix=Colorspace.ITU709, full_range=True),
        Kind(options=LOSSLESS, pixels="yuv422p", matrix=Colorspace.ITU709),
        Kind(options=LOSSLESS, pixels="yuv444p", matrix=Colorspace.ITU709),
        Kind(options=LOSSLESS, pixels="yuv420p10le", matrix=Colorspace.ITU709),
        Kind(options=LOSSLESS, pixels="yuv422p10le", matrix=Colorspace.ITU709),
        Kind(codec="libx265", options=X265, matrix=Colorspace.ITU709),
        Kind(codec="libx265", options=X265, pixels="yuv420p10le", matrix=Colorspace.BT2020),
        Kind(codec="libx265", options=X265, pixels="yuv422p10le", matrix=Colorspace.ITU709, full_range=True),
        Kind(codec="libvpx-vp9", options=VP9, matrix=Colorspace.ITU709, full_range=True),
        Kind(codec="libvpx-vp9", options=VP9, matrix=Colorspace.ITU601),
        Kind(codec="mjpeg", options={"qscale": "1"}, pixels="yuvj420p", suffix="avi", full_range=True),
        Kind(codec="mjpeg", options={"qscale": "1"}, pixels="yuvj422p", suffix="avi", full_range=True),
        Kind(codec="mpeg2video", options={"qscale": "1"}, suffix="ts"),
        Kind(codec="prores_ks", options={}, pixels="yuv422p10le", suffix="mov", matrix=Colorspace.ITU709),
        Kind(codec="libx264rgb", options=LOSSLESS, pixels="rgb24"),
        Kind(codec="ffv1", options={}, pixels="bgra"),
        Kind(codec="rawvideo", options={}, pixels="yuyv422", suffix="avi"),
    ],
    ids=lambda kind: f"{kind.codec}-{kind.pixels}-{getattr(kind.matrix, 'name', None)}-{kind.full_range}",
)
def test_colours_are_those_that_were_filmed(tmp_path: Path, kind: Kind) -> None:
    picture = bars(96, 192)
    path = encode(tmp_path / "a", [picture] * 2, kind)
    with video.open(path) as source:
        frames = list(source)
    assert len(frames) == 2
    with av.open(str(path)) as container:
        shown_by_pyav = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for frame, by_pyav, by_ffmpeg in zip(frames, shown_by_pyav, shown_by_ffmpeg(path), strict=True):
        assert np.abs(frame.picture.astype(int) - by_pyav).max() <= 1
        if not kind.pixels.endswith("10le"):  # whose subsampled colours FFmpeg's filters do not smooth
            assert np.abs(frame.picture.astype(int) - by_ffmpeg).max() <= 2
        for bar in range(6):  # away from edges, which subsampled colours blur
            inside = slice(8, 40), slice(bar * 32 + 10, bar * 32 + 22)
            seen = frame.picture[inside].astype(int)
            assert np.abs(seen - by_ffmpeg[inside]).max() <= 2
            assert np.abs(seen.mean((0, 1)) - picture[inside].mean((0, 1))).max() <= 6


@pytest.mark.parametrize("pixels", ["gray", "gray10le"])
def test_grey(tmp_path: Path, pixels: str) -> None:
    kind = Kind(codec="libx264" if pixels == "gray" else "ffv1", pixels=pixels, options={})
    if pixels == "gray":
        kind = Kind(pixels=pixels, options=LOSSLESS, full_range=True)
    picture = np.repeat(bars(96, 192).mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    path = encode(tmp_path / "a", [picture], kind)
    with video.open(path) as source:
        (frame,) = source
    (shown,) = shown_by_ffmpeg(path)
    assert np.abs(frame.picture.astype(int) - shown).max() <= 2
    assert np.ptp(frame.picture.astype(int), axis=-1).max() <= 1
