"""Regions: cells of detections against the pixels of their boxes and masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.models.detections.advance import advance
from fluxshard.models.detections.detections import Detections, Masks
from fluxshard.models.detections.regions import moved_cells, regions
from fluxshard.motion import MotionField
from fluxshard.options import OBJECT, SMALL_OBJECT
from tests.unit.runtime.planned.slow_image_test import grown

SHAPE = (60, 92)  # 8x12 cells of 8 px, the last ones cut off; 15x23 prototypes of 4 px
Box = tuple[float, float, float, float]


def _found(boxes: list[Box], scores: list[float] | None = None, masks: Masks | None = None) -> Detections:
    scores = [0.9] * len(boxes) if scores is None else scores
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.zeros(len(boxes), np.int64),
        SHAPE,
        masks,
    )


def _masks(logits: list[NDArray[np.float32]], scale: float = 0.25, offset: tuple[float, float] = (0.0, 0.0)) -> Masks:
    """Each mask has a prototype of its own."""
    return Masks(np.eye(len(logits), dtype=np.float32), np.stack(logits), (scale, scale), offset)


def _cells(found: NDArray[np.uint8]) -> list[list[int]]:
    where: list[list[int]] = np.argwhere(found).tolist()
    return where


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((16, 8, 32, 16), range(1, 2), range(2, 4)),  # x1, y1, x2, y2
        ((15.5, 8, 32.4, 16.1), range(1, 3), range(2, 5)),  # pixels from 16 to 32, rows to 16
        ((0, 0, 0.5, 0.5), range(1), range(1)),
        ((-50, -50, 900, 900), range(8), range(12)),
        ((88, 56, 92, 60), range(7, 8), range(11, 12)),
        ((30, 30, 30, 40), range(0), range(0)),  # no pixel
        ((200, 10, 220, 20), range(0), range(0)),  # outside
    ],
)
def test_boxes_by_hand(box: Box, rows: range, columns: range) -> None:
    found = regions(_found([box]), 0.5)
    assert found.shape == (8, 12) and found.dtype == np.uint8
    assert _cells(found) == [[row, column] for row in rows for column in columns]
    assert set(found[found > 0].tolist()) <= {OBJECT}


def test_objects_must_score_higher() -> None:
    boxes: list[Box] = [(0, 0, 8, 8), (16, 0, 24, 8), (32, 0, 40, 8)]
    found = _found(boxes, [0.5, 0.25, 0.125])
    assert _cells(regions(found, 0.25)) == [[0, 0]]
    assert _cells(regions(found, 0.2)) == [[0, 0], [0, 2]]
    assert _cells(regions(found, 0.0)) == [[0, 0], [0, 2], [0, 4]]
    assert not regions(found, 0.5).any()
    assert not regions(_found([]), 0.0).any()


def test_small_objects_by_the_area_of_their_box() -> None:
    boxes: list[Box] = [(0, 0, 20, 20), (40, 0, 59, 21), (0, 40, 4, 59)]  # 400, 399 and 76 square pixels
    found = regions(_found(boxes), 0.5, 20)
    expected = np.zeros((8, 12), np.uint8)
    expected[:3, :3] = OBJECT
    expected[:3, 5:8] = expected[5:8, :1] = SMALL_OBJECT
    assert (found == expected).all()
    assert (regions(_found(boxes), 0.5) == np.minimum(expected, OBJECT)).all()


def test_small_objects_lie_over_others_and_take_their_whole_box() -> None:
    logits = np.full((15, 23), -1, np.float32)
    logits[0, 0] = 1
    found = _found([(0, 0, 90, 60), (0, 0, 16, 16)], masks=_masks([np.ones((15, 23), np.float32), logits]))
    expected = np.full((8, 12), OBJECT, np.uint8)
    expected[:2, :2] = SMALL_OBJECT
    assert (regions(found, 0.5, 17) == expected).all()
    assert (regions(found, 0.5, 16) == OBJECT).all()


def test_masks_by_hand() -> None:
    logits = np.full((15, 23), -1, np.float32)
    logits[4:6, 4:8] = 1  # rows 16 to 24, columns 16 to 32
    logits[14, 22] = 1  # outside the box
    assert _cells(regions(_found([(8, 8, 60, 50)], masks=_masks([logits])), 0.5)) == [[2, 2], [2, 3]]
    assert _cells(regions(_found([(8, 8, 92, 60)], masks=_masks([logits])), 0.5)) == [[2, 2], [2, 3], [7, 11]]
    # a logit of 0 is outside
    assert not regions(_found([(8, 8, 60, 50)], masks=_masks([logits * 0])), 0.5).any()


def test_each_object_has_its_own_mask() -> None:
    left, right = np.full((2, 15, 23), -1, np.float32)
    left[:, :4] = 1
    right[:, -3:] = 1
    found = _found([(0, 0, 92, 8), (0, 52, 92, 60)], masks=_masks([left, right]))
    assert _cells(regions(found, 0.5)) == [[0, 0], [0, 1], [6, 10], [6, 11], [7, 10], [7, 11]]
    alone = found.select(np.array([1]))
    assert _cells(regions(alone, 0.5)) == [[6, 10], [6, 11], [7, 10], [7, 11]]


def test_masks_that_do_not_begin_with_the_image() -> None:
    """The picture begins 2 prototypes below and 1 to the right of where the prototypes do."""
    logits = np.full((20, 30), -1, np.float32)
    logits[4:6, 5:7] = 1  # in pixels: rows 8 to 16, columns 16 to 24
    found = _found([(0, 0, 92, 60)], masks=_masks([logits], offset=(2.0, 1.0)))
    assert _cells(regions(found, 0.5)) == [[1, 2]]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 3))
def test_masks_against_their_pixels(seed: int, n: int) -> None:
    """Cells of masks are those of the full resolution, but for a prototype (4 px) around their outlines."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:15, :23] + 0.5
    logits, boxes = [], []
    for _ in range(n):
        centre_y, centre_x, size_y, size_x = *rng.uniform((0, 0), (15, 23)), *rng.uniform(1.5, 8, 2)
        logits.append((1 - ((y - centre_y) / size_y) ** 2 - ((x - centre_x) / size_x) ** 2).astype(np.float32))
        low = np.maximum((centre_x - size_x, centre_y - size_y), 0) * 4 + rng.uniform(-6, 6, 2)
        high = np.minimum((centre_x + size_x, centre_y + size_y), (23, 15)) * 4 + rng.uniform(-6, 6, 2)
        boxes.append((*low.tolist(), *high.tolist()))
    found = _found(boxes, masks=_masks(logits))
    pixels = np.zeros((68, 100), np.bool_)  # with a border of 4 px
    for index in range(n):
        rows, columns, mask = found.mask(index)
        if mask.size:
            pixels[rows.start + 4 : rows.stop + 4, columns.start + 4 : columns.stop + 4] |= mask
    inner, outer = ~grown(~pixels, 4)[4:-4, 4:-4], grown(pixels, 4)[4:-4, 4:-4]
    result = regions(found, 0.5) > 0
    assert not (_per_cell(inner) & ~result).any()
    assert not (result & ~_per_cell(outer)).any()


def _per_cell(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether any pixel of a cell is set."""
    padded = np.zeros((64, 96), np.bool_)
    padded[:60, :92] = pixels
    return np.asarray(padded.reshape(8, 8, 12, 8).any((1, 3)))


def test_moved_cells_are_those_that_a_translated_mask_has() -> None:
    logits = np.full((15, 23), -1, np.float32)
    logits[2:8, 4:12] = 1  # 4 px each: rows 8 to 32, columns 16 to 48
    found = _found([(0, 0, 92, 60)], masks=_masks([logits]))
    assert moved_cells(found) is None and moved_cells(_found([(0, 0, 92, 60)])) is None
    moved = advance(found, MotionField.uniform(*SHAPE, 8, 16))
    cells = moved_cells(moved)
    assert cells is not None
    assert np.argwhere(cells).tolist() == [[row, column] for row in range(2, 5) for column in range(4, 8)]
    assert np.array_equal(cells, regions(moved, 0.5) > 0)
    assert moved_cells(advance(found, MotionField.uniform(*SHAPE, 8, 16, cell_px=16))) is None


def test_moved_cells_of_an_object_without_vectors_are_its_box() -> None:
    found = _found([(16, 8, 32, 24)], masks=_masks([np.full((15, 23), 1, np.float32)]))
    valid = np.zeros((8, 12), np.bool_)
    valid[7, 11] = True
    cells = moved_cells(advance(found, MotionField(np.zeros((8, 12, 2), np.int16), valid)))
    assert cells is not None
    assert np.argwhere(cells).tolist() == [[row, column] for row in (1, 2) for column in (2, 3)]
