"""Labels are where they belong, whole, and none hides another."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.models.drawing.labels import Label, draw_labels

SIZE = (240, 320)
RED = (200, 30, 30)


def label(box, *texts):
    return Label(box, texts or ("person 0.87", "person"), RED)


def draw(*labels, size=SIZE):
    canvas = np.full((*size, 3), 90, np.uint8)
    return canvas, draw_labels(canvas, labels, 10, 2)


def disjoint(a, b):
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_a_label_is_right_above_its_box_and_nothing_else_changes():
    canvas, ((left, top, right, bottom),) = draw(label((100, 60, 200, 160)))
    assert (left, bottom) == (100, 60)
    changed = (canvas != 90).any(-1)
    assert changed[top:bottom, left:right].mean() > 0.9
    changed[top:bottom, left:right] = False
    assert not changed.any()


@pytest.mark.parametrize("box", [(0, 0, 319, 239), (0, 0, 40, 40), (290, 100, 319, 200), (280, 200, 319, 239)])
def test_labels_at_the_border_are_inside_the_picture(box):
    _, ((left, top, right, bottom),) = draw(label(box))
    assert 0 <= left < right <= 320 and 0 <= top < bottom <= 240


def test_a_crowd_is_labelled_without_overlaps():
    generator = np.random.default_rng(0)
    boxes = [(x, y, x + 40, y + 60) for x, y in generator.integers(0, 180, (40, 2)).tolist()]
    _, places = draw(*(label(box) for box in boxes))
    assert 10 < len(places) <= len(boxes)
    assert all(disjoint(a, b) for i, a in enumerate(places) for b in places[:i])


def test_the_same_box_twice_has_two_labels():
    _, places = draw(label((100, 60, 200, 160)), label((100, 60, 200, 160)))
    assert len(places) == 2 and disjoint(*places)


def test_the_largest_box_is_labelled_first_whatever_the_order():
    large, small = label((100, 60, 220, 200)), label((100, 60, 140, 100))
    one, other = draw(large, small), draw(small, large)
    assert (one[0] == other[0]).all() and one[1] == other[1]


def test_texts_are_shortened_where_only_that_fits_and_left_out_where_nothing_does():
    _, places = draw(label((10, 10, 30, 28), "a name that is wider than the picture", "dog"), size=(60, 60))
    assert len(places) == 1 and places[0][2] - places[0][0] < 40
    assert draw(label((2, 2, 20, 20), "a name that is wider than the picture"), size=(60, 60))[1] == []
