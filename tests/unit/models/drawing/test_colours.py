"""Colours of what is found, and sizes by the picture's."""

from __future__ import annotations

import colorsys

from fluxshard.models.drawing.colours import WORK, colour_of, ink_on, line_px, text_px


def hue(colour):
    return colorsys.rgb_to_hls(*(channel / 255 for channel in colour))[0]


def test_nothing_that_is_found_looks_like_work():
    for index in range(1000):
        distance = abs(hue(colour_of(index)) - hue(WORK))
        assert min(distance, 1 - distance) > 0.12


def test_neighbours_differ():
    for index in range(100):
        a, b = colour_of(index), colour_of(index + 1)
        assert sum(abs(x - y) for x, y in zip(a, b, strict=True)) > 60


def test_ink_is_read_on_its_ground():
    assert ink_on((255, 255, 0)) == (20, 20, 20) and ink_on((90, 0, 120)) == (255, 255, 255)


def test_lines_and_text_grow_with_the_picture():
    sizes = [(32, 32), (240, 320), (480, 854), (720, 1280), (1080, 1920), (2160, 3840)]
    assert [line_px(size) for size in sizes] == [1, 1, 2, 2, 4, 7]
    assert [text_px(size) for size in sizes] == [9, 9, 11, 17, 25, 50]
    assert line_px((1920, 1080)) == line_px((1080, 1920))
