"""Pixels of another shape from some picture on."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing.pictures import panning
from fluxshard.video.sources.pixel_aspect import PixelAspect
from tests.unit.video.sources.displayed import with_aspect

SIZE = (96, 128)
COUNT = 40  # FFmpeg looks at more than one picture to find out what comes


def both(place: Path, *parts: tuple[tuple[int, int], Fraction], bframes: str = "0") -> Path:
    """One stream after the other: sizes of the pictures, and shapes of their pixels."""
    path = place / "all.h264"
    films = [
        with_aspect(place / f"{index}.h264", aspect, panning(size, (1, 2), COUNT), bframes=bframes)
        for index, (size, aspect) in enumerate(parts)
    ]
    path.write_bytes(b"".join(film.read_bytes() for film in films))
    return path


@pytest.mark.parametrize("bframes", ["0", "2"])
def test_with_the_size_the_shape_of_pixels_changes(tmp_path: Path, bframes: str) -> None:
    """From 3:4 with wide pixels to a film that is stored as it is shown: both are shown as 4:3."""
    path = both(tmp_path, ((96, 64), Fraction(2)), ((96, 128), Fraction(1)), bframes=bframes)
    with video.open(path, size=SIZE) as source:
        assert (source.pixel_aspect, source.shown_size) == (2, SIZE)
        frames = list(source)
        assert (source.pixel_aspect, source.shown_size) == (1, SIZE)
    assert [frame.index for frame in frames if frame.starts_anew] == [COUNT]
    assert {frame.letterbox.content_size for frame in frames} == {SIZE}


def test_the_shape_of_pixels_alone_changes(tmp_path: Path) -> None:
    path = both(tmp_path, ((96, 64), Fraction(2)), ((96, 64), Fraction(1)), ((96, 64), Fraction(2)))
    with video.open(path, size=SIZE) as source:
        frames = list(source)
        assert source.shown_size == SIZE
    assert [frame.index for frame in frames if frame.starts_anew] == [COUNT, 2 * COUNT]
    shapes = [SIZE] * COUNT + [(96, 64)] * COUNT + [SIZE] * COUNT
    assert [frame.letterbox.content_size for frame in frames] == shapes
    assert frames[COUNT].motion is None and frames[COUNT + 1].motion_source == "codec"
    with video.open(path) as source:  # without a size, nothing is scaled
        assert {frame.letterbox.content_size for frame in source} == {(96, 64)}
        assert source.pixel_aspect == 2


def test_a_receiver_of_packets_does_not_look_for_it(tmp_path: Path) -> None:
    path = both(tmp_path, ((96, 64), Fraction(1)), ((96, 64), Fraction(2)))
    frames = []
    with pytest.raises(VideoError, match=r"the width of its pixels from 1 to 2 times their height at frame 40; open"):
        for frame in video.open(path, packets=True):
            frames.append(frame)
    assert len(frames) == COUNT
    with video.open(path, size=SIZE, packets=True, vectors="encode") as source:
        assert len(list(source)) == 2 * COUNT


def aspects(stream: Fraction | None, codec: list[tuple[int, Fraction | None]], widths: list[int]) -> list[Fraction]:
    """Of pictures of some widths, by what stream and codec say (the codec with its own width)."""
    found = PixelAspect(SimpleNamespace(sample_aspect_ratio=stream))  # type: ignore[arg-type]
    return [
        found.of(
            SimpleNamespace(height=96, width=width),  # type: ignore[arg-type]
            SimpleNamespace(height=96, width=own_width, sample_aspect_ratio=own),  # type: ignore[arg-type]
        )
        for width, (own_width, own) in zip(widths, codec, strict=True)
    ]


def test_the_container_is_right_until_the_codec_says_something_else() -> None:
    two, three = Fraction(2), Fraction(3)
    assert aspects(two, [(64, None)] * 2, [64, 64]) == [2, 2]
    assert aspects(two, [(64, three), (64, three), (64, Fraction(1)), (64, three)], [64] * 4) == [2, 2, 1, 2]
    assert aspects(None, [(64, two), (64, None)], [64] * 2) == [2, 1]
    assert aspects(None, [(64, Fraction(0)), (64, Fraction(99)), (64, three)], [64] * 3) == [1, 1, 3]


def test_a_decoder_that_holds_pictures_back_is_ahead_of_them() -> None:
    codec: list[tuple[int, Fraction | None]] = [(64, Fraction(2)), (128, Fraction(1)), (128, Fraction(1))]
    assert aspects(None, codec, [64, 64, 128]) == [2, 2, 1]
