from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning, texture
from fluxshard.video.orientation import Orientation, orientation_of, orientation_of_exif

ONE = 1 << 16
# (a, b, c, d) of a display matrix, and what is shown of stored pixels
TURNS = {
    "as stored": ((ONE, 0, 0, ONE), lambda p: p),
    "mirrored": ((-ONE, 0, 0, ONE), lambda p: p[:, ::-1]),
    "upside down": ((-ONE, 0, 0, -ONE), lambda p: p[::-1, ::-1]),
    "mirrored upside down": ((ONE, 0, 0, -ONE), lambda p: p[::-1]),
    "transposed": ((0, ONE, ONE, 0), lambda p: p.swapaxes(0, 1)),
    "clockwise": ((0, ONE, -ONE, 0), lambda p: np.rot90(p, -1)),
    "anticlockwise": ((0, -ONE, ONE, 0), lambda p: np.rot90(p)),
    "transposed the other way": ((0, -ONE, -ONE, 0), lambda p: np.rot90(p, 2).swapaxes(0, 1)),
}


@pytest.mark.parametrize("name", TURNS)
def test_films_are_shown_as_their_matrix_says(tmp_path: Path, name: str) -> None:
    (a, b, c, d), shown = TURNS[name]
    pictures = panning((48, 80), (2, -4), 3)
    data = bytearray(write_clip(tmp_path / "a.mp4", pictures).read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = tmp_path / "b.mp4"
    path.write_bytes(data)
    with video.open(path) as source:
        assert source.picture_size == shown(pictures[0]).shape[:2]
        frames = list(source)
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(shown(picture).astype(int) - frame.picture).mean() < 12
    assert frames[1].motion_source == ("codec" if name == "as stored" else "block_matching")


@pytest.mark.parametrize("number", range(1, 9))
def test_images_are_shown_as_pillow_shows_them(tmp_path: Path, number: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    # grey: every decoder fills in colours in its own way
    stored = Image.fromarray(np.repeat(texture(40, 56)[..., :1], 3, 2))
    for suffix in ("jpg", "png", "tiff", "webp"):
        path = tmp_path / f"a.{suffix}"
        stored.save(path, exif=exif, quality=95)
        with Image.open(path) as image:
            wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.int64)
        with video.open(path) as source:
            (frame,) = source
        assert frame.picture.shape == wanted.shape, suffix
        assert np.abs(frame.picture - wanted).mean() < 3, suffix


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
@pytest.mark.parametrize("number", range(1, 9))
def test_images_that_are_too_large_for_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.repeat(texture(40, 56)[..., :1], 3, 2)).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.int64)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 56 // 3)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    with video.open(path) as source:
        (frame,) = source
    assert frame.picture.shape == wanted.shape
    assert np.abs(frame.picture - wanted).mean() < 3


def test_images_whose_exif_ends_too_early_are_shown_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture = np.repeat(texture(40, 56)[..., :1], 3, 2)
    Image.fromarray(picture).save(path, quality=95, dpi=(72, 72))  # without, Pillow reads the block, and forgives it
    block = b"Exif\0\0II*\0\x08"
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:])
    with Image.open(path) as image, pytest.raises(struct.error):
        image.getexif()
    with video.open(path) as source:
        (frame,) = source
    assert np.abs(frame.picture.astype(int) - picture).mean() < 3


@pytest.mark.parametrize("value", [None, 0, 9, "6", b"6"])
def test_what_exif_does_not_know_is_upright(value: object) -> None:
    assert orientation_of_exif(value) == Orientation()


def test_frames_without_a_matrix_are_upright() -> None:
    assert orientation_of(av.VideoFrame(8, 8, "rgb24")).upright


def test_pictures_that_are_turned_differently(tmp_path: Path) -> None:
    exif = Image.Exif()
    for index, number in enumerate((1, 6)):
        exif[0x0112] = number
        Image.fromarray(texture(40, 56)).save(tmp_path / f"{index}.jpg", exif=exif)
    with pytest.raises(VideoError, match=r"56x40 px and the first of .* 40x56 px"), video.open(tmp_path) as source:
        list(source)


def test_hidden_files_and_directories_are_no_pictures(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", "._a.png"):
        Image.fromarray(texture(40, 56)).save(tmp_path / name)
    (tmp_path / "masks.png").mkdir()
    with video.open(tmp_path) as source:
        assert source.frame_count == 1 and len(list(source)) == 1


def test_an_empty_name() -> None:
    with pytest.raises(VideoError, match="name is empty; give a video file"):
        video.open("")
