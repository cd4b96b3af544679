"""The recomputed area: told apart on any ground, and quiet."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.models.drawing.colours import WORK
from fluxshard.models.drawing.work import tint_work

SAND, SKIN, SKY = (226, 205, 178), (198, 134, 102), (120, 180, 235)


def tinted(work, ground=SAND, shape=(120, 160), line=2, **where):
    canvas = np.empty((*shape, 3), np.uint8)
    canvas[...] = ground
    tint_work(canvas, work, where.get("scale", (1.0, 1.0)), where.get("offset", (0.0, 0.0)), 8, line)
    return canvas


def square(value=1.0):
    work = np.zeros((15, 20), np.float32)
    work[4:10, 5:12] = value
    return work


@pytest.mark.parametrize("ground", [SAND, SKIN, SKY, (0, 0, 0), (255, 255, 255)])
def test_an_area_has_a_line_and_a_light_tint_on_any_ground(ground):
    after = tinted(square(), ground).astype(int)
    line, inside, outside = after[32, 60], after[50, 60], after[20, 60]
    assert (outside == ground).all()
    assert np.abs(line - outside).max() > 60  # seen
    assert 0 < np.abs(inside - outside).max() < 60  # quiet: what is below can be seen


def test_the_line_lies_inside_the_area_all_around():
    after = tinted(square())
    is_line = (after == after[32, 60]).all(-1)
    expected = np.zeros((120, 160), bool)
    expected[32:80, 40:96] = True
    expected[34:78, 42:94] = False
    assert (is_line == expected).all()


def test_little_work_is_tinted_without_a_line():
    after = tinted(square(0.25))
    assert len(np.unique(after.reshape(-1, 3), axis=0)) == 2
    assert ((after != SAND).any(-1) == (tinted(square(1.0)) != SAND).any(-1)).all()


def test_a_whole_frame_has_a_line_along_its_border_only():
    after = tinted(np.ones((15, 20), np.float32))
    changed = (after != SAND).any(-1)
    assert changed[:2].all() and changed[:, -2:].all() and not changed[2:-2, 2:-2].any()


def test_single_reused_cells_have_no_line_of_their_own_but_no_tint_either():
    work = square()
    work[6, 8] = 0
    after = tinted(work)
    assert (after[48:56, 64:72] == SAND).all()
    assert (after[56, 64:72] == after[60, 60]).all()


def test_the_canvas_beside_the_picture_is_not_drawn():
    work = np.zeros((15, 20), np.float32)
    work[:3] = 1  # above the picture, which begins at row 24
    assert (tinted(work, shape=(90, 160), offset=(24.0, 0.0)) == SAND).all()
    whole = tinted(np.ones((15, 20), np.float32), shape=(90, 160), offset=(24.0, 0.0))
    assert (whole[45, 80] == SAND).all() and (whole[0] != SAND).any()


def test_work_that_is_no_number_is_none():
    work = square()
    work[0, 0], work[1, 1] = np.nan, -np.inf
    assert (tinted(work) == tinted(square())).all()
    assert WORK[2] > WORK[0]


def test_over_maps_there_is_only_the_line():
    canvas = np.full((120, 160, 3), 90, np.uint8)
    tint_work(canvas, square(), (1.0, 1.0), (0.0, 0.0), 8, 2, tinted=False)
    changed = (canvas != 90).any(-1)
    assert changed[32:80, 40:96].any() and not changed[34:78, 42:94].any()
