"""Maps of numbers over pictures: where they lie, and what colours say."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.models.drawing.heat_map import draw_heat, heat_colours

SIZE = (64, 96)


def canvas(shape=(128, 192)):
    return np.full((*shape, 3), 128, np.uint8)


def brightness(colours):
    return colours.astype(float) @ (0.299, 0.587, 0.114)


def test_colours_rise_in_brightness():
    steps = np.diff(brightness(heat_colours()[1:]))
    assert (steps > -0.8).all() and steps.sum() > 200  # rounded to whole bytes


def test_a_map_lies_where_the_picture_is():
    values = np.zeros((8, 12), np.float32)  # cells of 8 px; the picture is twice as large
    values[2, 3] = 1
    after = canvas()
    draw_heat(after, values, 0, 1, (0.5, 0.5), (0, 0), SIZE)
    y, x = np.unravel_index(brightness(after).argmax(), after.shape[:2])
    assert 32 <= y < 48 and 48 <= x < 64


def test_a_map_of_a_letterboxed_image_is_cropped_to_the_picture():
    values = np.zeros((8, 12), np.float32)
    values[1:7] = 1  # bars of 8 px above and below are 0
    after = canvas((48, 96))
    draw_heat(after, values, 0, 1, (1, 1), (8, 0), SIZE)
    assert np.ptp(brightness(after)[4:-4]) < 1  # values are interpolated over half a cell at the bars


def test_values_that_are_not_finite_have_a_colour_of_their_own():
    values = np.full((8, 12), np.nan, np.float32)
    values[:, 6:] = np.inf
    after = canvas()
    draw_heat(after, values, 0, 1, (0.5, 0.5), (0, 0), SIZE)
    assert np.ptp(after.reshape(-1, 3), axis=0).max() == 0  # grey
    assert np.ptp(after[0, 0].astype(int)) <= 1


@pytest.mark.parametrize("spread", [(0.0, 0.0), (1.0, -1.0), (-1e30, 1e30)])
def test_any_range_is_drawn(spread):
    after = canvas()
    draw_heat(after, np.ones((8, 12), np.float32), *spread, (0.5, 0.5), (0, 0), SIZE)
    assert after.shape == (128, 192, 3)
