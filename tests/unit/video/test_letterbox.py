from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import VideoError
from fluxshard.testing.pictures import texture
from fluxshard.video import Letterbox
from fluxshard.video.letterbox import GREY, to_image, to_planes

sides = st.integers(1, 400)


@pytest.mark.parametrize(
    ("picture", "size", "content", "offset"),
    [
        ((480, 640), (640, 640), (480, 640), (80, 0)),
        ((1080, 1920), (640, 640), (360, 640), (140, 0)),
        ((1920, 1080), (640, 640), (640, 360), (0, 140)),
        ((241, 427), (320, 320), (181, 320), (69, 0)),
        ((241, 427), (192, 352), (192, 340), (0, 6)),
        ((100, 100), (33, 66), (33, 33), (0, 16)),
        ((241, 427), None, (241, 427), (0, 0)),
    ],
)
def test_placement(picture: tuple[int, int], size: tuple[int, int] | None, content: object, offset: object) -> None:
    box = Letterbox(picture, size)
    assert (box.content_size, box.offset) == (content, offset)
    assert box.size == (size or (256, 448))


@given(sides, sides, sides, sides)
def test_content_fits_touches_and_keeps_its_shape(h: int, w: int, rows: int, columns: int) -> None:
    box = Letterbox((h, w), (rows, columns))
    y, x = box.crop
    assert y.start >= 0 and y.stop <= rows and len(y) == box.content_size[0]
    assert x.start >= 0 and x.stop <= columns and len(x) == box.content_size[1]
    assert len(y) == rows or len(x) == columns
    assert abs(y.start - (rows - y.stop)) <= 1 and abs(x.start - (columns - x.stop)) <= 1
    # one axis is filled, the other follows within half a pixel, at least one; near the frame's own shape both are full
    follows_x = len(y) == rows and abs(len(x) * h - w * rows) <= h
    follows_y = len(x) == columns and abs(len(y) * w - h * columns) <= w
    assert follows_x or follows_y


def test_image_without_scaling_is_the_picture_and_grey_bars() -> None:
    picture = texture(50, 70)
    box = Letterbox((50, 70))
    image = box.apply(picture)
    assert image.shape == (1, 3, 64, 96) and image.dtype == torch.float32 and image.is_contiguous()
    expected = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    assert torch.equal(image[0, :, :50, :70], expected)
    bars = torch.ones(64, 96, dtype=torch.bool)
    bars[:50, :70] = False
    assert (image[0][:, bars] == torch.tensor(GREY / 255)).all()


def test_scaling_keeps_colours_and_averages_when_it_shrinks() -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[:100] = (250, 20, 130)
    picture[100:] = np.where(np.indices((100, 300)).sum(0) % 2, 255, 0)[..., None]  # one-pixel checks
    placed = Letterbox((200, 300), (100, 100)).place(picture)
    assert placed.shape == (100, 100, 3)
    content = placed[17:84]  # 67 rows
    assert (np.abs(content[2:30].astype(int) - (250, 20, 130)) <= 1).all()
    assert (np.abs(content[38:-2].astype(int) - 127) <= 12).all()  # nearest or plain bilinear would flicker
    assert (placed[:16] == GREY).all() and (placed[84:] == GREY).all()


def test_boxes_points_and_masks_come_back() -> None:
    box = Letterbox((241, 427), (192, 352))
    (sy, sx), (oy, ox) = box.scale, box.offset
    picture_boxes = np.array([[10.0, 20.0, 200.5, 100.25], [0, 0, 427, 241]])
    image_boxes = picture_boxes * (sx, sy, sx, sy) + (ox, oy, ox, oy)
    assert np.allclose(box.boxes_to_picture(image_boxes), picture_boxes, atol=1e-3)
    assert (box.boxes_to_picture(np.array([[-50.0, -50.0, 900.0, 900.0]])) == [[0, 0, 427, 241]]).all()
    assert box.boxes_to_picture(np.zeros((0, 4))).shape == (0, 4)
    points = np.array([[[5.0, 6.0]], [[426.0, 240.0]]])
    assert np.allclose(box.points_to_picture(points * (sx, sy) + (ox, oy)), points, atol=1e-3)

    mask = torch.zeros(1, 192, 352, dtype=torch.bool)
    y, x = box.crop
    mask[:, : y.start + 96, : x.start + 170] = True  # the upper left quarter, bars included
    back = box.masks_to_picture(mask)
    assert back.shape == (1, 241, 427) and back.dtype == torch.bool
    expected = torch.zeros(241, 427, dtype=torch.bool)
    expected[:121, :214] = True
    assert (back[0] != expected).float().mean() < 0.005


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5.0, 5), (5,), (True, 5)])
def test_sizes_are_positive_whole_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(VideoError, match="must be \\(height, width\\) in whole pixels"):
        Letterbox((10, 10), size)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(VideoError, match="expected \\(10, 12, 3\\) and uint8"):
        Letterbox((10, 12)).place(texture(12, 10))


@pytest.mark.parametrize("picture", [(181, 307), (96, 128), (40, 300)])
def test_resizing_has_the_bits_of_torch_on_planes(picture: tuple[int, int]) -> None:
    pixels, box = texture(*picture), Letterbox(picture, (64, 96))
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    resized = torch.nn.functional.interpolate(planes, size=box.content_size, mode="bilinear", antialias=True)
    y, x = box.crop
    placed = box.place(pixels)
    assert np.array_equal(placed[y.start : y.stop, x.start : x.stop], resized[0].permute(1, 2, 0).numpy())
    bars = np.ones(box.size, np.bool_)
    bars[y.start : y.stop, x.start : x.stop] = False
    assert (placed[bars] == GREY).all()


def test_planes_are_a_view_of_pixels() -> None:
    pixels = texture(10, 12)
    planes = to_planes(pixels)
    assert planes.dtype == torch.uint8 and planes.shape == (1, 3, 10, 12)
    assert torch.equal(planes.to(torch.float32) / 255, to_image(pixels))
    pixels[3, 4, 1] ^= 255
    assert planes[0, 1, 3, 4] == pixels[3, 4, 1]
    pixels.flags.writeable = False
    assert np.array_equal(to_planes(pixels)[0].permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize(
    ("picture", "size", "aspect", "content"),
    [
        ((240, 320), (96, 256), Fraction(2), (96, 256)),  # shown as 240x640
        ((240, 320), (96, 96), Fraction(2), (36, 96)),
        ((576, 720), (640, 640), Fraction(64, 45), (360, 640)),  # PAL, 16:9
        ((480, 720), (640, 640), Fraction(8, 9), (480, 640)),  # NTSC, 4:3
        ((100, 100), (64, 64), Fraction(1, 2), (64, 32)),
    ],
)
def test_pixels_are_scaled_as_they_are_shown(
    picture: tuple[int, int], size: tuple[int, int], aspect: Fraction, content: tuple[int, int]
) -> None:
    box = Letterbox(picture, size, aspect)
    assert box.content_size == content
    assert box.scale == (content[0] / picture[0], content[1] / picture[1])
    assert Letterbox(picture, None, aspect) == Letterbox(picture)  # nothing is scaled without a size
