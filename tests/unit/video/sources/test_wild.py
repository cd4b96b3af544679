"""Sizes, times, containers and paths that are out there."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning, texture
from tests.unit.video.sources.displayed import Kind, bars, encode, shown_by_ffmpeg, with_aspect, write_interlaced

SIZE = (96, 128)
NEAR = {"crf": "4", "preset": "ultrafast"}


def difference(seen: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(seen.astype(int) - expected).mean())


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_network_gets_pictures_as_wide_as_they_are_shown(tmp_path: Path, suffix: str) -> None:
    path = with_aspect(tmp_path / f"a.{suffix}", Fraction(2), panning((96, 64), (2, 3), 4))
    with video.open(path, size=SIZE) as source:
        assert (source.picture_size, source.pixel_aspect, source.shown_size) == ((96, 64), 2, (96, 128))
        frames = list(source)
    assert frames[0].letterbox.content_size == SIZE
    for frame in frames[1:]:  # vectors are scaled as the pictures are
        assert frame.motion_source == "codec" and frame.motion is not None
        inner = frame.motion.displacement[2:-2, 2:-2][frame.motion.valid[2:-2, 2:-2]]
        assert np.median(inner, axis=0).tolist() == [2, 6]
    with video.open(path) as source:  # without a size, nothing is scaled
        assert next(source).letterbox.content_size == (96, 64)


def test_packets_of_pixels_that_are_not_square_are_made_here(tmp_path: Path) -> None:
    path = with_aspect(tmp_path / "a.mp4", Fraction(2), panning((96, 64), (2, 3), 3))
    with video.open(path, size=SIZE, packets=True) as source:
        assert source.packet_stream is not None and source.packet_stream.encoded_here
        assert next(source).letterbox.content_size == SIZE


def test_a_turned_film_has_its_aspect_turned(tmp_path: Path) -> None:
    data = bytearray(with_aspect(tmp_path / "a.mp4", Fraction(2), panning((96, 64), (2, 3), 2)).read_bytes())
    header, one = data.index(b"tkhd") + 4, 1 << 16
    struct.pack_into(">9i", data, header + 40, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "b.mp4").write_bytes(data)
    with video.open(tmp_path / "b.mp4", size=(128, 96)) as source:
        assert (source.picture_size, source.pixel_aspect, source.shown_size) == ((64, 96), Fraction(1, 2), (128, 96))
        assert next(source).letterbox.content_size == (128, 96)


def test_interlaced_pictures_are_woven_with_the_colours_of_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    expected = write_interlaced(path, panning(SIZE, (0, 4), 5))
    with video.open(path, size=SIZE) as source:
        frames = list(source)
    assert [frame.motion_source for frame in frames] == ["none"] + ["block_matching"] * 3
    for frame, picture, by_lines in zip(frames, expected, shown_by_ffmpeg(path), strict=True):
        assert difference(frame.picture, picture) < 12 < difference(by_lines, picture)


def test_a_film_whose_frames_come_at_any_time(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 7, 8, 20, 49]
    path = encode(tmp_path / "a", panning(SIZE, (0, 2), len(stamps)), Kind(options=NEAR), stamps)
    with video.open(path) as source:
        assert np.allclose([frame.time_s for frame in source], np.array(stamps) / 25, atol=2e-3)


def test_a_bare_stream_has_no_times_but_its_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.h264", panning(SIZE, (1, 2), 6), format="h264")
    with video.open(path) as source:
        times = [frame.time_s for frame in source]
    assert np.allclose(times, np.arange(6) / 25, atol=1e-3)


def test_a_film_that_changes_its_size_goes_on_in_the_same_image(tmp_path: Path) -> None:
    sizes = [(96, 128), (128, 96), (192, 256)]
    path = tmp_path / "all.h264"
    parts = [write_clip(tmp_path / f"{h}.h264", panning((h, w), (1, 2), 40), format="h264") for h, w in sizes]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with video.open(path, size=(96, 160)) as source:
        frames = list(source)
    assert len(frames) == 120 and [frame.index for frame in frames if frame.starts_anew] == [40, 80]
    for number, frame in enumerate(frames):
        size = sizes[number // 40]
        assert frame.picture.shape[:2] == frame.letterbox.picture_size == size
        assert frame.pixels.shape[:2] == frame.letterbox.size == (96, 160)
        assert (frame.motion is None) == (number % 40 == 0)
    for number in (0, 40, 80):
        assert difference(frames[number].picture, panning(sizes[number // 40], (1, 2), 40)[0]) < 12
    with video.open(path) as source:  # the first one's image, padded, for all of them
        assert {frame.pixels.shape[:2] for frame in source} == {(96, 128)}
    with video.open(path, size=(96, 160), stride=41) as source:  # not lost with a frame that is dropped
        assert [frame.starts_anew for frame in source] == [False, True, True]


def test_pictures_that_are_encoded_here_may_change_their_size(tmp_path: Path) -> None:
    path = tmp_path / "all.h264"
    parts = [write_clip(tmp_path / f"{h}.h264", panning((h, 128), (1, 2), 8), format="h264") for h in (96, 64)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with video.open(path, size=SIZE, packets=True, vectors="encode") as source:
        numbers = [frame.packet_number for frame in source]
    assert numbers == list(range(len(numbers))) and len(numbers) == 16


@pytest.mark.parametrize(("height", "width"), [(32, 32), (34, 50), (2160, 3840), (4320, 7680)])
def test_sizes_of_one_frame(tmp_path: Path, height: int, width: int) -> None:
    tile = bars(min(height, 1080), min(width, 1920))
    picture = np.tile(tile, (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1))[:height, :width]
    kind = Kind(codec="mjpeg", options={"qscale": "2"}, pixels="yuvj420p", suffix="avi", full_range=True)
    with video.open(encode(tmp_path / "a", [picture], kind), size=(96, 160)) as source:
        frames = list(source)
    assert len(frames) == 1 and frames[0].picture.shape == (height, width, 3)
    assert frames[0].image.shape == (1, 3, 96, 160) and frames[0].motion is None
    assert difference(frames[0].picture[: tile.shape[0], : tile.shape[1]], tile) < 12


def test_gif(tmp_path: Path) -> None:
    pictures = [Image.fromarray(np.kron(texture(12, 16, seed=k), np.ones((8, 8, 1), np.uint8))) for k in range(3)]
    delays = [40, 200, 120]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=delays, loop=0)
    with video.open(tmp_path / "a.gif") as source:
        frames = list(source)
    with Image.open(tmp_path / "a.gif") as shown:
        for index, frame in enumerate(frames):
            shown.seek(index)
            assert difference(frame.picture, np.asarray(shown.convert("RGB"))) < 1
    assert np.allclose([frame.time_s for frame in frames], [0, 0.04, 0.24], atol=5e-3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "I;16", "1"])
def test_pictures_of_every_mode(tmp_path: Path, mode: str) -> None:
    suffix = {"CMYK": "jpg"}.get(mode, "png")
    picture = bars(96, 192)
    if mode == "I;16":
        grey = picture.mean(-1).astype(np.uint8)
        image = Image.fromarray(grey.astype(np.uint16) * 257)
        expected = np.repeat(grey[..., None], 3, -1)
    else:
        image = Image.fromarray(picture).convert(mode)
        expected = np.asarray(image.convert("RGB"))
    image.save(tmp_path / f"a.{suffix}", **({"quality": 98} if suffix == "jpg" else {}))
    with video.open(tmp_path) as source:
        (frame,) = source
    assert difference(frame.picture, expected) < 3


def test_a_directory_in_the_order_of_numerals(tmp_path: Path) -> None:
    names = ["1.png", "2.png", "10.png", "a1b2.png", "a1b10.png", "a2b1.png"]
    for index, name in enumerate(names):
        Image.fromarray(np.full((32, 32, 3), 40 * index, np.uint8)).save(tmp_path / name)
    with video.open(tmp_path) as source:
        assert [int(frame.picture[0, 0, 0]) for frame in source] == [40 * index for index in range(len(names))]


@pytest.mark.parametrize(
    "name",
    ["straße 東京.mp4", "100%d.mp4", "-i.mp4", "a b'c\"d.mp4", "file:x.mp4", "#1?.mp4", "[a,b]|.mp4", "\udcff.mp4"],
)
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "plain.mp4", panning(SIZE, (1, 2), 2)).rename(name)
    for given in (name, tmp_path / name):
        with video.open(given) as source:
            assert len(list(source)) == 2
    with video.VideoWriter(f"out {name}", SIZE, 25) as writer:
        writer.write(texture(*SIZE))
    with video.open(f"out {name}") as source:
        assert len(list(source)) == 1


def test_a_camera_by_its_path() -> None:
    with pytest.raises(VideoError, match="camera '/dev/null' cannot be opened: "):
        video.open("/dev/null")


@pytest.mark.parametrize("suffix", ["mkv", "ts", "avi", "h264"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_files(tmp_path: Path, suffix: str, share: float) -> None:
    pictures = panning(SIZE, (1, 2), 40)
    path = write_clip(tmp_path / f"a.{suffix}", pictures, format="h264" if suffix == "h264" else None)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with video.open(path, strict=False) as source:
        frames = list(source)
    assert 40 * share - 12 <= len(frames) < 40
    for frame, picture in zip(frames, pictures, strict=False):
        assert difference(frame.picture, picture) < 12
