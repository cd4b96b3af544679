"""Lags: at some strides the reference moves by single pixels, the features by whole cells of what adds up.

A picture that moves by 3 px a frame leaves features of stride 8 behind: they have to stay twice and then step. The
reference image of such a level (`Level.in_pixels`) moves with the content, so that the frame is compared with what it
shows, and each 8-px cell keeps the *lag* of its features: by how much the content has moved beyond them since they were
computed. A lag travels with the content. It is at most half a feature: where it would be more, the features step.

In numpy, as the definition: generated code computes the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluxshard.geometry import Grid
from fluxshard.motion import CELL_PX, cells
from fluxshard.runtime.planned.hints import Pixels, feature_points, whole_features
from fluxshard.runtime.planned.levels import Level


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What becomes of the features of every 8-px cell; both `(rows, columns, 2)` pixels (dy, dx).

    Attributes:
      features: displacement of the features, whole cells of theirs.
      lags: of the content in front of them, from then on: -S / 2 or more, and below S / 2.
    """

    features: Pixels
    lags: Pixels


def no_lags(size: tuple[int, int]) -> Pixels:
    """Lags of features that were just computed: zero for every 8-px cell.

    Args:
      size: (H, W) of the image in pixels.
    """
    return np.zeros((cells(size[0], CELL_PX), cells(size[1], CELL_PX), 2), np.int64)


def step(content: Pixels, lags: Pixels, level: Level, grid: Grid, size: tuple[int, int]) -> Step:
    """How features follow their content: by as many whole cells as have added up, halves up.

    All 8-px cells of a feature look up their lag at one place, where the centre of the feature comes from: features
    move as one. Beyond the border the nearest cell counts; what comes from there is recomputed.

    Args:
      content: `(rows, columns, 2)` pixels that the content of every 8-px cell moves by.
      lags: `(rows, columns, 2)` before.
      level, grid, size: as for `hinted_px`.
    """
    rows_px, columns_px = feature_points(level, grid, size)
    y = np.clip(rows_px[:, None] - content[..., 0], 0, size[0] - 1) // CELL_PX
    x = np.clip(columns_px[None, :] - content[..., 1], 0, size[1] - 1) // CELL_PX
    total = lags[y, x] + content
    features = whole_features(total, level)
    return Step(features, total - features)
