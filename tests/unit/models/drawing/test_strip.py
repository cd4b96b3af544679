"""Strips: fields at fixed places, in as many rows as they need."""

from __future__ import annotations

import numpy as np

from fluxshard.models.drawing.colours import DARK, LIGHT
from fluxshard.models.drawing.strip import MOST_ROWS, Field, Strip, ramp_bytes

RED, GREEN = (255, 0, 0), (0, 255, 0)
WIDEST = {"name": Field("a long name"), "share": Field("work 100%", bar=0.0), "last": Field("the end")}


def drawn(strip, fields, width=640, edge=None):
    part = np.zeros((strip.height, width, 3), np.uint8)
    strip.draw(part, fields, edge)
    return part


def columns(part):
    return np.flatnonzero((part != np.array(DARK)).any((0, 2)))


def test_a_field_begins_where_it_began_whatever_stands_before_it():
    strip = Strip(640, 14, WIDEST)
    alone = columns(drawn(strip, {"last": Field("the end")}))
    after = columns(drawn(strip, {"name": Field("x"), "share": Field("work 3%", bar=0.03), "last": Field("the end")}))
    assert alone[0] > 100 and set(alone) <= set(after) and after[-1] == alone[-1]


def test_fields_go_on_in_further_rows_on_narrow_pictures():
    heights = [Strip(width, 14, WIDEST).height for width in (640, 200, 100)]
    assert heights[0] < heights[1] < heights[2] and all(height % 2 == 0 for height in heights)
    many = {f"field {index}": Field("some words") for index in range(60)}
    small = Strip(100, 14, many)
    assert small.height <= MOST_ROWS * heights[0]
    drawn(small, many, 100)


def test_bars_are_filled_by_their_share():
    strip = Strip(640, 14, WIDEST)
    filled = [
        (drawn(strip, {"share": Field("", bar=share, fill=RED)}) == RED).all(-1).sum() for share in (0, 0.5, 1, 7)
    ]
    assert filled[0] == 0 and abs(filled[1] - filled[2] / 2) <= filled[2] / 20 and filled[3] == filled[2]
    assert (drawn(strip, {"share": Field("", bar=float("nan"), fill=RED)}) != RED).any(-1).all()


def test_swatches_badges_and_ramps_have_their_colours():
    strip = Strip(640, 14, WIDEST)
    assert (drawn(strip, {"name": Field("x", swatch=GREEN)}) == GREEN).all(-1).any()
    assert (drawn(strip, {"name": Field("x", badge=GREEN)}) == GREEN).all(-1).any()
    ramp = ramp_bytes(np.array([RED, GREEN], np.uint8))
    scale = Field("1", ramp=(ramp, "0"))
    part = drawn(Strip(640, 14, {"scale": scale}), {"scale": scale})
    red, green = (np.flatnonzero((part == colour).all(-1).any(0)) for colour in (RED, GREEN))
    assert red[-1] + 1 == green[0] and len(red) == len(green)


def test_charts_show_the_latest_at_the_right():
    strip = Strip(640, 14, {"past": Field(chart=())})
    part = drawn(strip, {"past": Field(chart=((1.0, RED),) * 500 + ((0.5, GREEN),))})
    red, green = ((part == colour).all(-1) for colour in (RED, GREEN))
    assert np.flatnonzero(green.any(0))[0] > np.flatnonzero(red.any(0))[-1]
    assert green.any(1).sum() < red.any(1).sum()
    assert columns(drawn(strip, {"past": Field(chart=((float("nan"), RED), (-1.0, RED), (9.0, RED)))})).size


def test_an_edge_marks_the_upper_border():
    strip = Strip(640, 14, WIDEST)
    assert (drawn(strip, {}, edge=LIGHT)[0] == LIGHT).all() and (drawn(strip, {})[0] == DARK).all()
