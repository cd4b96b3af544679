"""The search in numpy, which defines what is found, and the generated program, which finds the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.codegen.common.toolchain import Isa, detect_target
from fluxshard.codegen.cpp.motion.block_search import BlockSearchLibrary, BlockSearchParams, build_block_search
from fluxshard.video.motion.block_search import ReferenceBlockSearch

Picture = NDArray[np.uint8]
Found = tuple[NDArray[np.int16], NDArray[np.bool_]]
ROOM = 48  # px around a window that it may move by


@pytest.fixture(scope="module", params=["native", "portable"])
def library(request: pytest.FixtureRequest) -> BlockSearchLibrary:
    isa: Isa = request.param
    return build_block_search(BlockSearchParams(), detect_target(isa))


def scene(height: int, width: int, seed: int, softness: int) -> NDArray[np.uint8]:
    """Random texture with room around it, softened so many times."""
    values = np.random.default_rng(seed).integers(0, 256, (height + 2 * ROOM, width + 2 * ROOM, 3)).astype(np.float64)
    for _ in range(softness):
        values = sum(np.roll(values, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)) / 6
    low, high = values.min(), values.max()
    return np.asarray((values - low) * (255 / (high - low)), np.uint8)


def window(picture: Picture, y: int, x: int, height: int, width: int) -> Picture:
    """The part that is seen after all content has moved by (y, x)."""
    return np.ascontiguousarray(picture[ROOM - y : ROOM - y + height, ROOM - x : ROOM - x + width])


def found_by(library: BlockSearchLibrary, pictures: list[Picture], threads: int = 1) -> list[Found | None]:
    state = library.new_state(*pictures[0].shape[:2])
    return [library.motion(state, picture, number, threads) for number, picture in enumerate(pictures)]


def same(one: Found | None, other: Found | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 100), st.integers(1, 100), st.integers(0, 99), st.integers(0, 4),
    st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=1, max_size=3), st.integers(1, 3),
)  # fmt: skip
def test_generated_code_finds_the_same(
    library: BlockSearchLibrary,
    height: int,
    width: int,
    seed: int,
    softness: int,
    path: list[tuple[int, int]],
    threads: int,
) -> None:
    content = scene(height, width, seed, softness)
    pictures = [window(content, y, x, height, width) for y, x in [(0, 0), *path]]
    pictures[-1][: height // 2, : width // 2] = (
        255 - pictures[-1][: height // 2, : width // 2]
    )  # of which nothing was there
    reference = ReferenceBlockSearch(height, width, library.params)
    for ours, picture in zip(found_by(library, pictures, threads), pictures, strict=True):
        assert same(ours, reference.motion(picture))


@pytest.mark.parametrize("by", [(0, 0), (3, -5), (-17, 8), (32, 32), (-31, 2)])
def test_what_moves_is_found(library: BlockSearchLibrary, by: tuple[int, int]) -> None:
    content = scene(160, 224, 5, 3)
    first, second = found_by(library, [content[ROOM:-ROOM, ROOM:-ROOM].copy(), window(content, *by, 160, 224)])
    assert first is None and second is not None
    displacement, valid = (part[5:-5, 5:-5] for part in second)  # away from what comes in
    assert valid.mean() > 0.98
    assert (displacement[valid] == by).all(-1).mean() > 0.99


def test_faster_motion_is_followed_once_it_was_found(library: BlockSearchLibrary) -> None:
    content = scene(128, 192, 3, 3)
    at = np.cumsum([0, 24, 24])  # the second step alone is within reach, the third is the same again
    moved = found_by(library, [window(content, 0, int(x) - 24, 128, 192) for x in at])[-1]
    assert moved is not None and (moved[0][4:-4, 6:-6][moved[1][4:-4, 6:-6]] == (0, 24)).all(-1).mean() > 0.99


def test_an_object_before_a_still_background(library: BlockSearchLibrary) -> None:
    background, thing = scene(160, 224, 1, 2)[ROOM:-ROOM, ROOM:-ROOM], scene(64, 64, 2, 2)[ROOM:-ROOM, ROOM:-ROOM]
    pictures = []
    for x in (64, 70):
        picture = background.copy()
        picture[48:112, x : x + 64] = thing
        pictures.append(picture)
    moved = found_by(library, pictures)[1]
    assert moved is not None
    displacement, valid = moved
    assert valid[6:14, 9:16].all() and (displacement[6:14, 9:16] == (0, 6)).all()
    away = np.ones_like(valid)
    away[5:15, 7:18] = False
    assert valid[away].all() and not displacement[away].any()


def test_nothing_is_known_of_another_picture(library: BlockSearchLibrary) -> None:
    moved = found_by(library, [scene(160, 224, seed, 1)[ROOM:-ROOM, ROOM:-ROOM].copy() for seed in (1, 2)])[1]
    assert moved is not None and moved[1].mean() < 0.02 and not moved[0][~moved[1]].any()


def test_a_light_that_flickers_moves_nothing(library: BlockSearchLibrary) -> None:
    content = scene(160, 224, 4, 1)
    lit = [window(content, 2 * n, 4 * n, 160, 224) for n in range(4)]
    pictures = [picture if n % 2 else (picture * 0.57).astype(np.uint8) for n, picture in enumerate(lit)]
    for found in found_by(library, pictures)[1:]:
        assert found is not None and found[1].mean() < 0.05


def test_red_and_blue_may_be_exchanged(library: BlockSearchLibrary) -> None:
    content = scene(96, 128, 6, 2)
    pictures = [window(content, 0, x, 96, 128) for x in (0, 7)]
    swapped = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
    assert same(found_by(library, pictures)[1], found_by(library, swapped)[1])
