"""The phase-locked canvas: where the image goes, and what moves on it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fluxshard.motion import MotionField, cells
from fluxshard.runtime.pixel_values import PixelValues
from fluxshard.runtime.reuse.canvas import Canvas, dominant_motion, zero_canvas

SIZE = (40, 48)
CANVAS_PX = 16
FILL = 0.25


def _image(seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def _field(vectors: list[list[tuple[int, int]]], valid: list[list[bool]] | None = None) -> MotionField:
    displacement = np.array(vectors)
    return MotionField(displacement, np.ones(displacement.shape[:2], np.bool_) if valid is None else np.array(valid))


def _inside(canvas: Canvas, size: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Cells of 8 px on the canvas whose centre lies on the image."""
    shape = cells(canvas.size[0], 8), cells(canvas.size[1], 8)
    inside = np.zeros(shape, np.bool_)
    for row, column in np.ndindex(*shape):
        y, x = (min(8 * at + 4, px - 1) for at, px in zip((row, column), canvas.size, strict=True))
        inside[row, column] = 0 <= y - canvas.origin[0] < size[0] and 0 <= x - canvas.origin[1] < size[1]
    return inside


def _place(canvas: Canvas, image: Tensor, motion: MotionField | None) -> tuple[Tensor, MotionField | None]:
    canvas.place(image, MotionField.uniform(*image.shape[2:], 3, 5))  # it is not committed, and changes nothing
    placement = canvas.place(image, motion)
    canvas.commit(placement)
    return placement.image, placement.motion


def test_the_first_image_lies_in_the_corner() -> None:
    canvas, image = Canvas(SIZE, CANVAS_PX, FILL), _image()
    placed, motion = _place(canvas, image, None)
    assert canvas.size == (56, 64) and placed.shape == (1, 3, 56, 64) and placed.dtype == torch.float32
    assert motion is None and canvas.origin == (0, 0)
    assert torch.equal(placed[..., :40, :48], image)
    assert (placed[..., 40:, :] == FILL).all() and (placed[..., :, 48:] == FILL).all()


def test_offsets_by_hand() -> None:
    canvas = Canvas(SIZE, CANVAS_PX, FILL)
    _place(canvas, _image(), None)
    for motion, origin in (((3, -5), (13, 5)), ((0, 0), (13, 5)), ((-4, 20), (1, 1)), ((-15, -15), (0, 0))):
        _place(canvas, _image(), MotionField.uniform(*SIZE, *motion))
        assert canvas.origin == origin
    _place(canvas, _image(), MotionField.uniform(*SIZE, 1, 2))
    _place(canvas, _image(), None)
    assert canvas.origin == (15, 14)  # where nothing is known the offset stays


SHIFTS = st.lists(st.tuples(st.integers(-12, 12), st.integers(-12, 12)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    shifts=SHIFTS,
    canvas_px=st.sampled_from((1, 5, 8, 16, 32)),
    size=st.sampled_from((SIZE, (37, 53))),
    cell_px=st.sampled_from((4, 8, 16)),
)
def test_a_pan_moves_by_multiples_of_the_canvas(
    shifts: list[tuple[int, int]], canvas_px: int, size: tuple[int, int], cell_px: int
) -> None:
    """The phase lock: on the canvas everything that the camera sees stands still, or jumps by whole `canvas_px`."""
    height, width = size
    scene = _image(1, (height + 128, width + 128))
    canvas = Canvas(size, canvas_px, FILL)
    y = x = 64
    placed, _ = _place(canvas, scene[..., y : y + height, x : x + width], None)
    for dy, dx in shifts:
        before, origin_before = placed.clone(), canvas.origin
        y, x = y - dy, x - dx  # content moves by (dy, dx) where the camera moves the other way
        image = scene[..., y : y + height, x : x + width]
        placed, motion = _place(canvas, image, MotionField.uniform(height, width, dy, dx, cell_px))
        assert all(0 <= at < canvas_px for at in canvas.origin)
        assert motion is not None and motion.cell_px == 8 and motion.valid.all()
        inside = _inside(canvas, size)
        jump = np.array((dy, dx)) + canvas.origin - np.array(origin_before)
        assert not (jump % canvas_px).any()
        assert (motion.displacement[inside] == jump).all() and not motion.displacement[~inside].any()
        _assert_moved(before, origin_before, placed, canvas.origin, (int(jump[0]), int(jump[1])), size)


def _assert_moved(
    before: Tensor,
    origin_before: tuple[int, int],
    after: Tensor,
    origin: tuple[int, int],
    jump: tuple[int, int],
    size: tuple[int, int],
) -> None:
    """Pixels of the image are those of the canvas before, moved by `jump`, where that lies on the image before."""
    ranges = []
    for axis in (0, 1):
        first = max(origin[axis], origin_before[axis] + jump[axis])
        last = min(origin[axis], origin_before[axis] + jump[axis]) + size[axis]
        assert last > first
        ranges.append((slice(first, last), slice(first - jump[axis], last - jump[axis])))
    (to_y, from_y), (to_x, from_x) = ranges
    assert torch.equal(after[..., to_y, to_x], before[..., from_y, from_x])


def test_bars_stand_still_and_are_filled_anew() -> None:
    canvas = Canvas(SIZE, CANVAS_PX, FILL)
    _place(canvas, _image(0), None)
    placed, motion = _place(canvas, _image(1), MotionField.uniform(*SIZE, -9, -9))
    assert canvas.origin == (9, 9) and motion is not None
    outside = torch.ones(56, 64, dtype=torch.bool)
    outside[9:49, 9:57] = False
    assert (placed[..., outside] == FILL).all()
    # the image covers the centres 12, 20, ... 44 of rows and 12, 20, ... 52 of columns
    assert not motion.displacement.any() and motion.valid.all()  # what moves by (-9, -9) stands still
    placed, motion = _place(canvas, _image(1), MotionField.uniform(*SIZE, -9, 0))
    assert canvas.origin == (2, 9) and motion is not None
    expected = np.zeros((7, 8), np.int64)
    expected[:5, 1:7] = -16
    assert (motion.displacement[..., 0] == expected).all() and not motion.displacement[..., 1].any()


def test_cells_take_the_motion_and_validity_of_the_image_below_their_centre() -> None:
    canvas = Canvas(SIZE, CANVAS_PX, FILL)
    _place(canvas, _image(), None)
    vectors = np.zeros((5, 6, 2), np.int64)
    vectors[...] = (-4, 0)
    vectors[1, 2] = (7, 7)
    valid = np.ones((5, 6), np.bool_)
    valid[3, 4] = False
    _, motion = _place(canvas, _image(), MotionField(vectors, valid))
    assert canvas.origin == (4, 0) and motion is not None
    # the centres 4, 12, 20 ... of the canvas are rows 0, 8, 16 ... of the image; the offset's change of 4 is added
    assert motion.displacement[1, 2].tolist() == [11, 7] and np.count_nonzero(motion.displacement.any(-1)) == 1
    assert np.argwhere(~motion.valid).tolist() == [[3, 4]]


def test_inputs_are_only_read() -> None:
    canvas, image = Canvas(SIZE, CANVAS_PX, FILL), _image()
    motion = MotionField.uniform(*SIZE, 3, 5)
    kept, displacement = image.clone(), motion.displacement.copy()
    _place(canvas, image, None)
    placed, _ = _place(canvas, image, motion)
    placed.fill_(7.0)
    assert torch.equal(image, kept) and (motion.displacement == displacement).all()
    image.fill_(9.0)
    assert (placed == 7).all()


def test_another_type_is_taken_as_it_comes() -> None:
    canvas, image = Canvas(SIZE, CANVAS_PX, FILL), _image()
    _place(canvas, image, None)
    placed, _ = _place(canvas, image.double(), None)
    assert placed.dtype == torch.float64 and torch.equal(placed[..., :40, :48], image.double())


@pytest.mark.parametrize(
    ("vectors", "dominant"),
    [
        ([[(1, 2), (1, 2), (0, 0)]], (1, 2)),
        ([[(3, -1), (2, 9), (2, -9)]], (2, -9)),  # all once: the first in order of (dy, dx)
        ([[(-1, 5), (-2, 5), (-1, 5), (-2, 5)]], (-2, 5)),
        ([[(0, 3), (0, -3)], [(0, -3), (0, 3)]], (0, -3)),
        ([[(5, 1), (1, 5), (1, 1), (5, 5), (5, 5)]], (5, 5)),
    ],
)
def test_dominant_motion_by_hand(vectors: list[list[tuple[int, int]]], dominant: tuple[int, int]) -> None:
    assert dominant_motion(_field(vectors)) == dominant


def test_invalid_cells_have_no_say() -> None:
    vectors = [[(4, 4), (4, 4), (1, 0)]]
    assert dominant_motion(_field(vectors, [[False, False, True]])) == (1, 0)
    assert dominant_motion(_field(vectors, [[False, False, False]])) == (0, 0)
    canvas = Canvas(SIZE, CANVAS_PX, FILL)
    _place(canvas, _image(), MotionField.uniform(*SIZE, 3, 3))
    nothing = MotionField(np.full((5, 6, 2), 9), np.zeros((5, 6), np.bool_))
    _, motion = _place(canvas, _image(), nothing)
    assert canvas.origin == (13, 13) and motion is not None
    assert (motion.valid == ~_inside(canvas, SIZE)).all()


@given(seed=st.integers(0, 2**31), spread=st.sampled_from((1, 3, 32_767)))
def test_dominant_motion_counts_cells(seed: int, spread: int) -> None:
    """Vectors may be as long as they like: decoders report absurd ones."""
    rng = np.random.default_rng(seed)
    motion = MotionField(rng.integers(-spread, spread + 1, (4, 5, 2)), rng.random((4, 5)) < 0.8)
    counted = Counter(map(tuple, motion.displacement[motion.valid].tolist()))
    best = max(counted.values(), default=0)
    expected = min((vector for vector, n in counted.items() if n == best), default=(0, 0))
    assert dominant_motion(motion) == expected


def test_zero_canvas() -> None:
    example = zero_canvas(torch.ones(1, 4, 30, 20), 8)
    assert example.shape == (1, 4, 38, 28) and example.dtype == torch.float32 and not example.any()


@pytest.mark.parametrize(("fill", "dtype"), [(0.4, torch.uint8), (0.3999, torch.float32)])
def test_bytes_stay_bytes_where_one_stands_for_the_fill(fill: float, dtype: torch.dtype) -> None:
    pixels = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    values = PixelValues()
    placed, _ = _place(Canvas(SIZE, CANVAS_PX, fill), pixels, None)
    expected, _ = _place(Canvas(SIZE, CANVAS_PX, fill), values.floats(pixels), None)
    assert placed.dtype == dtype and torch.equal(values.floats(placed), expected)
