"""What drawings change, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluxshard.models.detections.detections import Detections, Masks
from fluxshard.models.detections.draw import WORK, colour_of, draw_caption, draw_detections, draw_work

GREY = 90


def picture(height=240, width=320):
    return np.full((height, width, 3), GREY, np.uint8)


def one(box=(100, 60, 200, 160), **more):
    return Detections(np.array([box], np.float32), np.array([0.87], np.float32), np.array([1]), (240, 320), **more)


def changed(before, after):
    return (before != after).any(-1)


def test_a_box_is_an_outline_with_a_label_above_it():
    before = picture()
    after = draw_detections(before, one(), ("cat", "dog"))
    assert (before == GREY).all()
    difference = changed(before, after)
    assert tuple(after[110, 100]) == colour_of(1)
    assert not difference[70:150, 110:190].any()
    assert difference[40:60, 100:140].any()
    assert not difference[170:].any()


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 20, 20),
        (300, 220, 900, 900),
        (0, 0, 320, 240),
        (-1e9, -1e9, 1e9, 1e9),
        (400, 300, 500, 400),
        (5, 5, 5, 5),
    ],
)
def test_boxes_at_and_beyond_the_border_are_drawn_without_error(box):
    points = np.array([[[box[0], box[1], 0.9]] * 17], np.float32)
    masks = Masks(np.ones((1, 1), np.float32), np.ones((1, 6, 8), np.float32), (1 / 40, 1 / 40))
    after = draw_detections(picture(), one(box, keypoints=points, masks=masks), ())
    assert after.shape == (240, 320, 3) and after.dtype == np.uint8


def test_masks_tint_inside_only():
    masks = Masks(np.ones((1, 1), np.float32), np.ones((1, 6, 8), np.float32), (1 / 40, 1 / 40))
    difference = changed(picture(), draw_detections(picture(), one(masks=masks)))
    assert difference[62:158, 102:198].all()
    assert not difference[162:].any()


def test_keypoints_below_the_confidence_are_not_drawn():
    points = np.zeros((1, 17, 3), np.float32)
    points[0, :, 0], points[0, :, 1] = np.linspace(110, 190, 17), 110
    hidden = draw_detections(picture(), one(keypoints=points))
    points[..., 2] = 0.9
    shown = draw_detections(picture(), one(keypoints=points))
    assert changed(hidden, shown)[105:115, 110:190].any()
    assert not changed(hidden, shown)[130:150, 110:190].any()
    points[0, 3] = np.nan
    assert draw_detections(picture(), one(keypoints=points)).shape == (240, 320, 3)


def test_work_is_tinted_by_share_and_reuse_is_transparent():
    work = np.zeros((15, 20), np.float32)  # cells of 8 px of a 120x160 image: half the picture's size
    work[5, 6], work[5, 8] = 1.0, 0.25
    before = picture()
    after = draw_work(before, work, (0.5, 0.5), (0.0, 0.0))
    difference = changed(before, after)
    assert difference[80:96, 96:112].all() and difference[80:96, 128:144].all()
    assert difference.sum() == 2 * 16 * 16
    strong, weak = (after[88, x].astype(int) - GREY for x in (100, 132))
    assert abs(strong[0]) > abs(weak[0]) > 0
    assert np.sign(strong[0]) == np.sign(WORK[0] - GREY)


def test_work_of_a_letterboxed_image_lies_where_the_picture_is():
    work = np.zeros((15, 20), np.float32)
    work[2] = 1.0  # letterboxed rows 16..24; the picture begins at row 10
    difference = changed(picture(100, 160), draw_work(picture(100, 160), work, (1.0, 1.0), (10.0, 0.0)))
    assert np.flatnonzero(difference.any(1)).tolist() == list(range(6, 14))


def test_caption_lies_at_the_lower_edge_and_fits_a_narrow_picture():
    difference = changed(picture(), draw_caption(picture(), "frame 3   ·   compute 12 %"))
    assert not difference[:200].any() and difference[-10:].all()
    assert draw_caption(picture(40, 60), "a caption that is far too long for this picture").shape == (40, 60, 3)


def test_an_empty_frame_is_only_copied():
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), (240, 320))
    before = picture()
    after = draw_detections(before, empty)
    assert (after == before).all() and after is not before


def test_drawing_in_place_is_drawing_on_a_copy():
    masks = Masks(np.ones((1, 1), np.float32), np.ones((1, 6, 8), np.float32), (1 / 40, 1 / 40))
    found, work = one(masks=masks), np.full((15, 20), 0.5, np.float32)
    copied = draw_caption(draw_detections(draw_work(picture(), work, (0.5, 0.5), (0.0, 0.0)), found), "a caption")
    canvas = picture()
    assert draw_work(canvas, work, (0.5, 0.5), (0.0, 0.0), in_place=True) is canvas
    assert draw_detections(canvas, found, masks=[found.mask(0)], in_place=True) is canvas
    assert draw_caption(canvas, "a caption", in_place=True) is canvas
    assert (canvas == copied).all()


def test_tints_follow_the_mask_and_outlines_its_edge():
    prototypes = np.full((1, 24, 32), -1, np.float32)
    prototypes[0, 8:14, 12:18] = 1
    found = one(masks=Masks(np.ones((1, 1), np.float32), prototypes, (1 / 10, 1 / 10)))
    rows, columns, inside = found.mask(0)
    after = draw_detections(picture(), found)[rows.start + 8 : rows.stop - 8, columns.start + 8 : columns.stop - 8]
    inside = inside[8:-8, 8:-8]  # without the box
    tinted = (GREY * 172 + np.array(colour_of(1)) * 84) >> 8
    is_edge = (after == colour_of(1)).all(-1)
    assert (after[~inside] == GREY).all() and (after[inside & ~is_edge] == tinted).all()
    assert 0 < is_edge.sum() < inside.sum() / 4 and inside[is_edge].all()


def test_objects_with_identities_keep_their_colour_and_show_their_number():
    found = one()
    tracked = replace(found, ids=np.array([7]))
    after = draw_detections(picture(), tracked, ("cat", "dog"))
    assert tuple(after[110, 100]) == colour_of(7)
    other = replace(tracked, classes=np.array([0]))
    assert tuple(draw_detections(picture(), other, ("cat", "dog"))[110, 100]) == colour_of(7)


def test_poses_of_a_class_have_its_colour_whatever_their_order():
    points = np.zeros((2, 17, 3), np.float32)
    boxes = np.array([[20, 60, 80, 160], [200, 60, 260, 160]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 0]), (240, 320), keypoints=points)
    after = draw_detections(picture(), found)
    assert tuple(after[110, 20]) == tuple(after[110, 200]) == colour_of(0)


def test_lines_are_as_wide_as_suits_the_picture():
    def width(scale):
        shape = 120 * scale, 160 * scale
        found = Detections(
            np.array([[40, 40, 120, 100]], np.float32) * scale, np.array([0.9], np.float32), np.array([1]), shape
        )
        row = draw_detections(np.full((*shape, 3), GREY, np.uint8), found)[70 * scale]
        return int((row[: 80 * scale] == colour_of(1)).all(-1).sum())

    assert [width(scale) for scale in (1, 4, 8, 16)] == [1, 1, 3, 6]
