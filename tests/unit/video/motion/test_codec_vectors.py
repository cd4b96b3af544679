from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fluxshard.motion import MotionField
from fluxshard.video import Letterbox
from fluxshard.video.motion.codec_vectors import field_from_vectors

# AVMotionVector as PyAV hands it over
AV_MOTION_VECTOR = np.dtype(
    {
        "names": [
            "source",
            "w",
            "h",
            "src_x",
            "src_y",
            "dst_x",
            "dst_y",
            "flags",
            "motion_x",
            "motion_y",
            "motion_scale",
        ],
        "formats": ["<i4", "u1", "u1", "<i2", "<i2", "<i2", "<i2", "<u8", "<i4", "<i4", "<u2"],
        "offsets": [0, 4, 5, 6, 8, 10, 12, 16, 24, 28, 32],
        "itemsize": 40,
    }
)
MACROBLOCK = {
    "16x16": [(0, 0, 16, 16)],
    "16x8": [(0, 0, 8, 16), (8, 0, 8, 16)],
    "8x16": [(0, 0, 16, 8), (0, 8, 16, 8)],
    "8x8": [(y, x, 8, 8) for y in (0, 8) for x in (0, 8)],
    "4x4": [(y, x, 4, 4) for y in (0, 4, 8, 12) for x in (0, 4, 8, 12)],
    "intra": [],
}


def random_vectors(rng: np.random.Generator, h: int, w: int, kinds: list[str], scale: int, reach: int) -> NDArray[Any]:
    rows = []
    for top in range(0, h, 16):
        for left in range(0, w, 16):
            for y, x, bh, bw in MACROBLOCK[rng.choice(kinds)]:
                mx, my = rng.integers(-reach, reach + 1, 2)
                source = -1 if rng.random() < 0.9 else 1
                rows.append((source, bw, bh, 0, 0, left + x + bw // 2, top + y + bh // 2, 0, mx, my, scale))
    rng.shuffle(rows)
    return np.array([tuple(row) for row in rows], AV_MOTION_VECTOR)


def oracle(vectors: NDArray[Any], box: Letterbox) -> MotionField:
    """The rules cell by cell, in fractions."""
    (h, w), (rows, columns), (height, width) = box.picture_size, box.content_size, box.size
    cells = -(-height // 8), -(-width // 8)
    motion, valid = np.zeros((*cells, 2), np.int64), np.zeros(cells, np.bool_)
    for i, j in np.ndindex(cells):
        y = Fraction(2 * min(8 * i + 4, height - 1) + 1, 2) - box.offset[0]
        x = Fraction(2 * min(8 * j + 4, width - 1) + 1, 2) - box.offset[1]
        if not (0 < y < rows and 0 < x < columns):
            valid[i, j] = True
            continue
        pixel_y, pixel_x = math.floor(y * h / rows), math.floor(x * w / columns)
        for v in vectors:
            top, left = v["dst_y"] - v["h"] // 2, v["dst_x"] - v["w"] // 2
            if v["source"] <= 0 and top <= pixel_y < top + v["h"] and left <= pixel_x < left + v["w"]:
                my = Fraction(-int(v["motion_y"]), int(v["motion_scale"])) * rows / h
                mx = Fraction(-int(v["motion_x"]), int(v["motion_scale"])) * columns / w
                motion[i, j] = math.floor(my + Fraction(1, 2)), math.floor(mx + Fraction(1, 2))
                valid[i, j] = True
    return MotionField(motion, valid)


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((48, 80), (48, 80)),
        ((61, 107), (80, 80)),
        ((61, 107), (48, 88)),
        ((61, 107), None),
        ((107, 61), (97, 150)),
        ((33, 47), (120, 171)),
    ],
)
@pytest.mark.parametrize(
    ("kinds", "scale", "reach"),
    [
        (["16x16"], 4, 40),
        (["16x16", "16x8", "8x16", "8x8", "intra"], 4, 300),
        (["16x16", "8x8", "intra"], 2, 9),
        (["4x4", "16x16"], 4, 70_000),
        (["intra"], 4, 1),
    ],
)
def test_every_cell_takes_the_block_below_its_centre(
    picture: tuple[int, int], size: tuple[int, int] | None, kinds: list[str], scale: int, reach: int
) -> None:
    rng = np.random.default_rng(len(kinds) * 1000 + scale)
    box = Letterbox(picture, size)
    vectors = random_vectors(rng, *picture, kinds, scale, reach)
    field, expected = field_from_vectors(vectors, box), oracle(vectors, box)
    assert (field.valid == expected.valid).all()
    assert (field.displacement == expected.displacement).all()
    field.check_covers(*box.size)


def test_blocks_outside_the_picture_are_harmless() -> None:
    far = [(-1, 16, 16, 0, 0, x, y, 0, 4, 4, 4) for x, y in ((-400, 8), (8, -400), (32_000, 8), (8, 32_000), (40, 40))]
    field = field_from_vectors(np.array(far, AV_MOTION_VECTOR), Letterbox((48, 48), (48, 48)))
    assert field.valid.sum() == 4 and field.valid[4:6, 4:6].all()
    assert (field.displacement[4:6, 4:6] == -1).all()


def test_vectors_that_point_far_away_are_kept_until_int16_ends() -> None:
    row = [
        (-1, 16, 16, 0, 0, 8, 8, 0, -4 * 3000, 4 * 40_000, 4),
        (-1, 16, 16, 0, 0, 24, 8, 0, -4 * 3000, 4 * 30_000, 4),
    ]
    field = field_from_vectors(np.array(row, AV_MOTION_VECTOR), Letterbox((16, 32), (16, 32)))
    assert not field.valid[:, :2].any()
    assert field.valid[:, 2:].all() and (field.displacement[:, 2:] == (-30_000, 3000)).all()
