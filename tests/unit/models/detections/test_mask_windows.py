"""Windows show what the masks show, wherever they are drawn."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.models.detections.detections import Detections, Masks
from fluxshard.models.detections.mask_windows import windowed
from fluxshard.models.detections.regions import regions


def some(n: int, seed: int) -> Detections:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(-20, 100, (n, 2)), rng.uniform(0, 70, (n, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    # whole multiples of 1/8, as float16 holds them: then rounding changes nothing
    prototypes = (rng.integers(-40, 40, (3, 16, 24)) / 8).astype(np.float32)
    masks = Masks(rng.integers(-2, 3, (n, 3)).astype(np.float32), prototypes, (0.25, 0.25))
    return Detections(boxes, rng.random(n).astype(np.float32), np.zeros(n, np.int64), (64, 96), masks)


@given(n=st.integers(0, 8), seed=st.integers(0, 2**31), zoom=st.sampled_from((1.0, 0.5, 0.37)))
@settings(deadline=None, max_examples=60)
def test_masks_and_regions_are_the_same(n: int, seed: int, zoom: float) -> None:
    found = some(n, seed)
    reduced = windowed(found)
    assert (regions(found, 0.3, 20) == regions(reduced, 0.3, 20)).all()
    shape = int(60 / zoom), int(90 / zoom)  # a picture lies within the image
    drawn, redrawn = (one.to_picture((zoom, zoom), (2.0, 3.0), shape) for one in (found, reduced))
    for index in range(n):
        rows, columns, mask = drawn.mask(index)
        assert (rows, columns) == redrawn.mask(index)[:2]
        assert np.array_equal(mask, redrawn.mask(index)[2])


def test_selection_keeps_the_windows() -> None:
    reduced = windowed(some(5, 1))
    chosen = reduced.select(np.array([3, 0]))
    assert np.array_equal(chosen.mask(0)[2], reduced.mask(3)[2])
    assert windowed(reduced) is reduced


@given(n=st.integers(1, 6), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_windows_hold_what_masks_hold_inside_their_boxes(n: int, seed: int) -> None:
    found = some(n, seed)
    reduced = windowed(found)
    assert found.masks is not None and reduced.masks is not None
    for index in range(n):
        rows, columns = found.pixels(index)
        y, x = (axis.ravel() + 0.5 for axis in np.meshgrid(rows, columns, indexing="ij"))
        assert np.array_equal(found.masks.has(index, y, x), reduced.masks.has(index, y, x))
