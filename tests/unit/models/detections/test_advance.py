"""Moved detections: translations exactly, objects by their own cells, masks and keypoints by the motion around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.errors import ShapeError
from fluxshard.models.detections.advance import MOST_MOVES, advance
from fluxshard.models.detections.agreement import compare
from fluxshard.models.detections.detections import Detections, Masks
from fluxshard.models.detections.mask_windows import MaskWindows, windowed
from fluxshard.models.detections.regions import regions
from fluxshard.motion import MotionField

SHAPE = (96, 128)  # 12x16 cells of 8 px; 24x32 prototypes of 4 px
Box = tuple[float, float, float, float]
Window = tuple[slice, slice]


def found_at(
    *boxes: Box, masks: Masks | MaskWindows | None = None, keypoints: NDArray[np.float32] | None = None
) -> Detections:
    n = len(boxes)
    scores = np.linspace(0.9, 0.5, n).astype(np.float32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, np.arange(n), SHAPE, masks, keypoints)


def some(seed: int, n: int = 4) -> Detections:
    """Boxes, also across the border; smooth masks of several blobs; keypoints inside and outside of boxes."""
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(-80, 480, (n, 2)) / 4, rng.integers(4, 240, (n, 2)) / 4
    boxes = np.concatenate([corner, corner + size], 1)
    coarse = rng.normal(size=(3, 6, 8)).astype(np.float32)
    masks = Masks(rng.normal(size=(n, 3)).astype(np.float32), coarse.repeat(4, 1).repeat(4, 2), (0.25, 0.25))
    points = (rng.integers(-40, 600, (n, 5, 3)) / 4).astype(np.float32)
    return found_at(*boxes.tolist(), masks=masks, keypoints=points)


def field(base: tuple[int, int], *parts: tuple[Window, tuple[int, int]]) -> MotionField:
    """Motion (dy, dx), with other vectors in windows of cells."""
    values = np.empty((12, 16, 2), np.int64)
    values[...] = base
    for window, vector in parts:
        values[window] = vector
    return MotionField(values, np.ones((12, 16), np.bool_))


def without(motion: MotionField, *windows: Window) -> MotionField:
    valid = motion.valid.copy()
    for window in windows:
        valid[window] = False
    return MotionField(motion.displacement, valid)


def pixels(found: Detections, index: int) -> NDArray[np.bool_]:
    """Mask of an object on the whole image."""
    whole = np.zeros(found.shape, np.bool_)
    rows, columns, mask = found.mask(index)
    whole[rows.start : rows.stop, columns.start : columns.stop] = mask
    return whole


def shifted(image: NDArray[np.bool_], dy: int, dx: int) -> NDArray[np.bool_]:
    """An image moved by whole pixels, False where nothing comes from."""
    height, width = image.shape
    moved = np.zeros_like(image)
    moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = image[
        max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return moved


def visible(dy: int, dx: int) -> NDArray[np.bool_]:
    """Pixels whose content was in the image before it moved."""
    return shifted(np.ones(SHAPE, np.bool_), dy, dx)


def boxes_of(found: Detections) -> list[list[float]]:
    boxes: list[list[float]] = found.boxes.tolist()
    return boxes


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    steps=st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=1, max_size=3),
    kind=st.sampled_from(("masks", "windows", "boxes")),
)
def test_a_picture_that_moves_as_a_whole_moves_its_detections_exactly(
    seed: int, steps: list[tuple[int, int]], kind: str
) -> None:
    given_ = some(seed)
    if kind == "windows":
        given_ = windowed(given_)
    elif kind == "boxes":
        given_ = Detections(given_.boxes, given_.scores, given_.classes, SHAPE, None, given_.keypoints)
    found, limit = given_, np.array((SHAPE[1], SHAPE[0]) * 2, np.float32)
    expected, seen, alive = given_.boxes, np.ones(SHAPE, np.bool_), np.arange(len(given_))
    for dy, dx in steps:
        found = advance(found, MotionField.uniform(*SHAPE, dy, dx))
        expected = np.clip(expected + np.array((dx, dy, dx, dy), np.float32), 0, limit)
        there = (expected[:, 2] > expected[:, 0]) & (expected[:, 3] > expected[:, 1])
        expected, alive = expected[there], alive[there]
        seen = shifted(seen, dy, dx)
    total_y, total_x = (sum(axis) for axis in zip(*steps, strict=True))
    assert np.array_equal(found.boxes, expected)
    assert np.array_equal(found.scores, given_.scores[alive]) and np.array_equal(found.classes, given_.classes[alive])
    points = given_.keypoints
    assert points is not None and found.keypoints is not None
    assert np.array_equal(found.keypoints, points[alive] + np.array((total_x, total_y, 0), np.float32))
    if kind != "boxes":
        for index, before in enumerate(alive.tolist()):
            mine = found.mask(index)
            inside = np.zeros(SHAPE, np.bool_)
            inside[mine[0].start : mine[0].stop, mine[1].start : mine[1].stop] = True
            now, then = pixels(found, index), shifted(pixels(given_, before), total_y, total_x)
            assert not (now & ~inside).any()
            assert np.array_equal(now & seen, then & inside & seen)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), dy=st.integers(-30, 30), dx=st.integers(-30, 30))
def test_windows_of_moved_masks_show_them_as_they_are(seed: int, dy: int, dx: int) -> None:
    rng = np.random.default_rng(seed)
    noise = MotionField(rng.integers(-3, 4, (12, 16, 2)) + np.array((dy, dx)), rng.random((12, 16)) > 0.2)
    found = advance(advance(some(seed), noise), noise)
    reduced = windowed(found)
    assert isinstance(reduced.masks, MaskWindows) and windowed(reduced) is reduced
    for index in range(len(found)):
        assert (pixels(found, index) != pixels(reduced, index)).sum() <= 8  # logits are rounded


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), down=st.integers(-2, 2), right=st.integers(-2, 2), small=st.booleans())
def test_regions_move_along(seed: int, down: int, right: int, small: bool) -> None:
    """By whole cells, within the image."""
    given_ = some(seed, 3)
    inner = np.clip(given_.boxes, (16, 16, 16, 16), (112, 80, 112, 80))
    given_ = Detections(inner, given_.scores, given_.classes, SHAPE, given_.masks)
    found = advance(given_, MotionField.uniform(*SHAPE, 8 * down, 8 * right))
    before = given_.select(np.flatnonzero((inner[:, 2:] > inner[:, :2]).all(1)))
    for one in (found, windowed(found)):
        marked = regions(one, 0.0, 20 if small else 0)
        assert np.array_equal(marked, np.roll(regions(before, 0.0, 20 if small else 0), (down, right), (0, 1)))


def test_no_motion_is_the_same_result() -> None:
    found = some(0)
    assert advance(found, None) is found
    still = advance(found, MotionField.zero(*SHAPE))
    for index in range(len(found)):
        assert np.array_equal(pixels(still, index), pixels(found, index))
    assert np.array_equal(still.boxes, np.clip(found.boxes, 0, (128, 96, 128, 96)))


def test_nothing_moves_where_no_vector_is_valid() -> None:
    found = found_at((10, 20, 50, 60))
    unknown = MotionField(np.zeros((12, 16, 2), np.int64), np.zeros((12, 16), np.bool_))
    assert boxes_of(advance(found, unknown)) == [[10, 20, 50, 60]]


def test_empty_detections_stay_empty() -> None:
    for motion in (None, MotionField.zero(*SHAPE), MotionField.uniform(*SHAPE, 50, 50)):
        assert len(advance(found_at(), motion)) == 0


@pytest.mark.parametrize("shape", [(88, 128), (96, 136), (40, 40)])
def test_motion_of_another_size_is_refused(shape: tuple[int, int]) -> None:
    for found in (some(0), found_at()):
        with pytest.raises(ShapeError, match="96x128"):
            advance(found, MotionField.zero(*shape))


@pytest.mark.parametrize("picture", [(range(-1, 96), range(128)), (range(97), range(128)), (range(96), range(5, 129))])
def test_a_picture_beyond_the_image_is_refused(picture: tuple[range, range]) -> None:
    with pytest.raises(ShapeError, match="not within an image of 96x128"):
        advance(some(0), MotionField.zero(*SHAPE), picture)


def test_an_object_moves_by_its_own_cells_and_not_by_the_background() -> None:
    """The object of 32x32 px at (32, 32) has moved by (8, 16); what it covers now is where its vectors are."""
    motion = field((0, -8), ((slice(5, 9), slice(6, 10)), (8, 16)))
    found = advance(found_at((32, 32, 64, 64)), motion)
    assert boxes_of(found) == [[48, 40, 80, 72]]


def test_vectors_count_where_an_object_is_now() -> None:
    """It moved by more than its size; where it was before, nothing is known."""
    motion = field((0, 0), ((slice(4, 6), slice(10, 12)), (0, 64)))
    found = advance(found_at((16, 32, 32, 48)), without(motion, (slice(4, 6), slice(2, 4))))
    assert boxes_of(found) == [[80, 32, 96, 48]]


def test_the_cells_of_a_mask_decide_where_most_of_the_box_is_background() -> None:
    logits = np.full((1, 24, 32), -1, np.float32)
    logits[0, 8:14, 8:14] = 1  # 24x24 px at (32, 32), in a box of 64x64
    masks = Masks(np.ones((1, 1), np.float32), logits, (0.25, 0.25))
    motion = without(field((0, 0), ((slice(4, 7), slice(6, 9)), (0, 16))), (slice(4, 7), slice(4, 6)))
    assert boxes_of(advance(found_at((24, 24, 88, 88), masks=masks), motion)) == [[40, 24, 104, 88]]
    assert boxes_of(advance(found_at((24, 24, 88, 88)), motion))[0][2] < 90


def test_a_mask_with_hardly_a_cell_moves_by_those_of_its_box() -> None:
    """Around the box nothing moves."""
    logits = np.full((1, 24, 32), -1, np.float32)
    masks = Masks(np.ones((1, 1), np.float32), logits, (0.25, 0.25))
    motion = field((0, 0), ((slice(3, 7), slice(3, 8)), (0, 8)))
    assert boxes_of(advance(found_at((24, 24, 56, 56), masks=masks), motion)) == [[32, 24, 64, 56]]


def test_without_a_mask_the_border_of_a_box_is_background() -> None:
    """Of the 6x6 cells of the box, the inner 4x4 move."""
    motion = field((0, 0), ((slice(4, 8), slice(4, 8)), (2, 2)))
    assert boxes_of(advance(found_at((24, 24, 72, 72)), motion)) == [[26, 26, 74, 74]]


def test_outliers_do_not_move_a_box() -> None:
    odd = ((slice(5, 6), slice(5, 7)), (-60, 90))
    assert boxes_of(advance(found_at((24, 24, 72, 72)), field((2, 4), odd))) == [[28, 26, 76, 74]]


def test_a_box_grows_with_what_it_holds() -> None:
    """Everything moves away from x = 64, by 4 px each way."""
    motion = field((0, 4), ((slice(None), slice(0, 8)), (0, -4)))
    ((x1, y1, x2, y2),) = boxes_of(advance(found_at((32, 32, 96, 64)), motion))
    assert (x1, y1, x2, y2) == (28, 32, 100, 64)


def test_invalid_cells_are_not_heeded() -> None:
    """Their vectors are taken as zero elsewhere."""
    hole = slice(4, 8), slice(4, 7)
    logits = np.ones((1, 24, 32), np.float32)
    masks = Masks(np.ones((1, 1), np.float32), logits, (0.25, 0.25))
    points = np.array([[[40, 40, 0.9], [70, 50, 0.8]]], np.float32)
    found = advance(found_at((24, 24, 88, 72), masks=masks, keypoints=points), without(field((4, 8)), hole))
    assert boxes_of(found) == [[32, 28, 96, 76]]
    assert found.keypoints is not None
    assert found.keypoints.tolist() == np.float32([[[48, 44, 0.9], [78, 54, 0.8]]]).tolist()
    assert np.array_equal(pixels(found, 0)[28:76, 32:96], np.ones((48, 64), np.bool_))


def test_an_object_all_of_whose_cells_are_invalid_moves_as_what_is_around_it() -> None:
    motion = without(field((0, 0), ((slice(2, 10), slice(2, 10)), (4, 8))), (slice(4, 8), slice(4, 8)))
    assert boxes_of(advance(found_at((32, 32, 56, 56)), motion)) == [[40, 36, 64, 60]]


@pytest.mark.parametrize("vector", [(0, 100), (0, -60), (70, 0), (-90, 0), (70, 100)])
def test_objects_that_leave_are_dropped(vector: tuple[int, int]) -> None:
    """The second object is so large that a part of it remains."""
    found = found_at((40, 40, 60, 60), (2, 2, 126, 94), (41, 41, 43, 43))
    moved = advance(found, field(vector))
    assert moved.classes.tolist() == [1]
    x1, y1, x2, y2 = boxes_of(moved)[0]
    assert 0 <= x1 < x2 <= 128 and 0 <= y1 < y2 <= 96


def test_objects_leave_the_picture_and_not_only_the_image() -> None:
    """Bars of 16 px left and right, where nothing moves."""
    picture = range(96), range(16, 112)
    bars = [((slice(None), side), (0, 0)) for side in (slice(0, 2), slice(14, 16))]
    found = advance(found_at((80, 8, 106, 40), (20, 8, 90, 40), (96, 40, 110, 60)), field((0, 20), *bars), picture)
    assert boxes_of(found) == [[100, 8, 112, 40], [40, 8, 110, 40]]
    assert found.classes.tolist() == [0, 1]


def test_a_mask_bends_with_its_parts() -> None:
    """The lower half of a square moves on by 16 px, the upper half by none; between them it is drawn out."""
    logits = np.full((1, 24, 32), -1, np.float32)
    logits[0, 6:18, 8:16] = 1  # rows 24 to 72, columns 32 to 64
    masks = Masks(np.ones((1, 1), np.float32), logits, (0.25, 0.25))
    motion = field((0, 0), ((slice(6, 12), slice(None)), (0, 16)))
    found = advance(found_at((0, 24, 128, 72), masks=masks), motion)
    mask = pixels(found, 0)
    assert np.flatnonzero(mask[30])[[0, -1]].tolist() == pytest.approx([32, 63], abs=2)
    assert np.flatnonzero(mask[66])[[0, -1]].tolist() == pytest.approx([48, 79], abs=2)
    assert 32 <= np.flatnonzero(mask[47])[0] <= 48


def test_each_keypoint_moves_by_the_motion_where_it_is() -> None:
    """A hand at (40, 88) moves by (8, -16), the body stands; the vectors are where the hand is now."""
    points = np.array([[[88, 40, 1], [40, 60, 0.5]]], np.float32)
    motion = field((0, 0), ((slice(5, 8), slice(8, 11)), (8, -16)))
    found = advance(found_at((20, 20, 100, 90), keypoints=points), motion)
    assert found.keypoints is not None and found.keypoints.tolist() == [[[72, 48, 1], [40, 60, 0.5]]]
    assert points[0, 0].tolist() == [88, 40, 1]  # as it was given


def test_keypoints_that_are_not_finite_do_no_harm() -> None:
    points = np.array([[[np.nan, 40, 0.1], [30, np.inf, 0.1], [40, 40, 0.9]]], np.float32)
    found = advance(found_at((20, 20, 60, 60), keypoints=points), field((1, 2)))
    assert found.keypoints is not None and found.keypoints[0, 2].tolist() == pytest.approx([42, 41, 0.9])
    assert np.isnan(found.keypoints[0, 0, 0]) and np.isinf(found.keypoints[0, 1, 1])


def test_keypoints_without_confidence_move_too() -> None:
    points = np.array([[[30, 40], [50, 20]]], np.float32)
    found = advance(found_at((20, 20, 60, 60), keypoints=points), field((1, 2)))
    assert found.keypoints is not None and found.keypoints.tolist() == [[[32, 41], [52, 21]]]


def test_masks_stay_lazy_and_end_as_windows_after_many_moves() -> None:
    """What is drawn does not depend on how many moves there were."""
    found = some(3, 2)
    motion = field((0, 0), ((slice(4, 8), slice(4, 10)), (1, 1)))
    for count in range(1, MOST_MOVES + 1):
        found = advance(found, motion)
        assert isinstance(found.masks, Masks) and len(found.masks.moves) == count
    later = advance(found, motion)
    assert isinstance(later.masks, MaskWindows) and len(later.masks.moves) == 2
    settled = advance(windowed(found), motion)
    for index in range(len(later)):
        assert np.array_equal(pixels(later, index), pixels(settled, index))
    for _ in range(3 * MOST_MOVES):
        later = advance(later, motion)
        assert later.masks is not None and len(later.masks.moves) <= MOST_MOVES


def test_moved_masks_follow_selection_and_the_way_to_the_picture() -> None:
    """The picture is the image at half its size, 8 px further right and 4 px further down."""
    masks = Masks(np.ones((2, 1), np.float32), np.ones((1, 24, 32), np.float32), (0.25, 0.25))
    found = found_at((10, 20, 60, 70), (70, 10, 110, 80), masks=masks)
    motion = field((3, 5), ((slice(None), slice(8, 16)), (1, 9)))
    for one in (found, windowed(found)):
        moved = advance(one, motion)
        chosen = moved.select(np.array([1, 0]))
        assert moved.masks is not None and chosen.masks is not None
        places = [moved.masks.place(index) for index in (0, 1)]
        assert places[0] != places[1] and [chosen.masks.place(index) for index in (1, 0)] == places
        assert np.array_equal(pixels(chosen, 1), pixels(moved, 0)) and pixels(moved, 0).any()
        assert np.array_equal(pixels(chosen, 0), pixels(moved, 1))
    moved = advance(some(5, 4), motion)
    small = moved.to_picture((2.0, 2.0), (4.0, 8.0), (44, 60))
    for index in range(len(moved)):
        rows, columns, mask = small.mask(index)
        # a pixel of the picture is four of the image, whose middle it shows
        y, x = np.arange(rows.start, rows.stop) * 2 + 4, np.arange(columns.start, columns.stop) * 2 + 8
        four = sum(pixels(moved, index)[np.ix_(y + down, x + right)].astype(int) for down in (0, 1) for right in (0, 1))
        inner = four[1:-1, 1:-1]
        assert mask[1:-1, 1:-1][inner == 4].all() and not mask[1:-1, 1:-1][inner == 0].any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), cut=st.floats(0, 1))
def test_any_motion_gives_boxes_in_the_picture_in_the_same_order(seed: int, cut: float) -> None:
    rng = np.random.default_rng(seed)
    motion = MotionField(rng.integers(-200, 200, (12, 16, 2)), rng.random((12, 16)) > cut)
    given_ = some(seed, 6)
    found = advance(given_, motion)
    assert found.boxes.dtype == np.float32 and found.keypoints is not None and found.keypoints.dtype == np.float32
    assert (np.diff(found.classes) > 0).all() and np.isfinite(found.boxes).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.boxes >= 0).all() and (found.boxes <= (128, 96, 128, 96)).all()
    for index in range(len(found)):
        rows, columns, mask = found.mask(index)
        assert mask.shape == (len(rows), len(columns))


def test_moved_results_are_nearer_to_the_truth_than_held_ones() -> None:
    """An object that moves over a background that does so otherwise, over three frames."""
    logits = np.full((1, 24, 32), -1, np.float32)
    logits[0, 4:12, 4:12] = 1
    found = held = found_at((16, 16, 48, 48), masks=Masks(np.ones((1, 1), np.float32), logits, (0.25, 0.25)))
    for step in range(1, 4):
        cells = slice(2 + step, 6 + step), slice(2 + 2 * step, 6 + 2 * step)
        found = advance(found, field((-3, -5), (cells, (8, 16))))
    truth = np.full((1, 24, 32), -1, np.float32)
    truth[0, 10:18, 16:24] = 1
    true = found_at((64, 40, 96, 72), masks=Masks(np.ones((1, 1), np.float32), truth, (0.25, 0.25)))
    moved = compare(found, true)
    assert moved.box_iou == 1 and moved.mask_iou is not None and moved.mask_iou > 0.95
    assert compare(held, true).matched == 0
