"""Maps of classes over pictures."""

from __future__ import annotations

import numpy as np

from fluxshard.models.drawing.class_map import draw_classes
from fluxshard.models.drawing.colours import colour_of

SIZE = (64, 96)


def test_cells_have_the_colours_of_their_classes_over_the_picture():
    labels = np.zeros((8, 12), np.uint8)
    labels[2, 3] = 5
    canvas = np.full((128, 192, 3), 90, np.uint8)
    draw_classes(canvas, labels, (0.5, 0.5), (0.0, 0.0), SIZE)
    for y, x, index in ((0, 0, 0), (32, 48, 5), (47, 63, 5), (48, 64, 0)):
        assert np.abs(canvas[y, x] - (90 + np.array(colour_of(index))) / 2).max() <= 1


def test_more_classes_than_colours():
    canvas = np.full((64, 96, 3), 90, np.uint8)
    draw_classes(canvas, np.full((8, 12), 261, np.int32), (1.0, 1.0), (0.0, 0.0), SIZE)
    assert np.abs(canvas[5, 5] - (90 + np.array(colour_of(5))) / 2).max() <= 1
