"""Generated image test: the text has all parameters in it and nothing else, and the shapes are those of the masks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

import jinja2
import pytest

from fluxshard.codegen.common import templates
from fluxshard.codegen.cpp.image_test import (
    ImageTestGrid,
    ImageTestLevel,
    ImageTestParams,
    image_test_params,
    render_image_test,
)
from fluxshard.errors import RenderError
from fluxshard.geometry import Grid
from tests.unit.codegen.targets import AVX512, PORTABLE

TWO, FOUR = Fraction(2), Fraction(4)
FINE = ImageTestLevel(stride=(TWO, TWO), features=(31, 42), shard_px=8, low_pass_px=1, in_pixels=False)
COARSE = ImageTestLevel(stride=(FOUR, Fraction(9, 2)), features=(16, 19), shard_px=24, low_pass_px=2, in_pixels=False)
ONE = Fraction(1)
IMAGE = ImageTestGrid(index=0, level=-1, height=61, width=83, stride=(ONE, ONE), whole_cells=True)
GRID = ImageTestGrid(index=2, level=0, height=31, width=42, stride=(TWO, TWO), whole_cells=False)
PARAMS = ImageTestParams(height=61, width=83, channels=3, levels=(FINE, COARSE), grids=(IMAGE, GRID))

LEVEL_CASES: list[dict[str, Any]] = [
    {"stride": (Fraction(3), FOUR)},
    {"stride": (FOUR, FOUR)},
    {"stride": (Fraction(4, 3), Fraction(9, 2))},
    {"features": (15, 19)},
    {"features": (16, 18)},
    {"shard_px": 16},
    {"low_pass_px": 4},
    {"in_pixels": True},
]
CASES: list[dict[str, Any]] = [
    {"height": 62},
    {"width": 84},
    {"channels": 1},
    {"levels": (FINE,)},
    {"levels": (COARSE, FINE)},
    {"levels": ()},
    {"grids": (IMAGE,)},
]
GRID_CASES: list[dict[str, Any]] = [
    {"index": 3},
    {"level": 1},
    {"height": 30},
    {"width": 41},
    {"stride": (TWO, FOUR)},
    {"stride": (Fraction(4, 3), TWO)},
    {"whole_cells": True},
]


@dataclass(frozen=True)
class Found:
    """A level as the runtime has it, with thresholds."""

    stride: tuple[Fraction, Fraction]
    grids: tuple[int, ...]
    shard_px: int
    low_pass_px: int
    in_pixels: bool
    tau: int


GRIDS = (Grid(61, 83), Grid(7, 7), Grid(31, 42, TWO, TWO), Grid(30, 41, TWO, TWO))
LEVEL = Found(stride=(TWO, TWO), grids=(2, 3), shard_px=8, low_pass_px=1, in_pixels=False, tau=100)


@pytest.mark.parametrize("change", LEVEL_CASES, ids=str)
def test_every_parameter_of_a_level_is_in_the_text(change: dict[str, Any]) -> None:
    other = replace(PARAMS, levels=(FINE, replace(COARSE, **change)))
    assert render_image_test(other, AVX512) != render_image_test(PARAMS, AVX512)


@pytest.mark.parametrize("change", GRID_CASES, ids=str)
def test_every_parameter_of_a_grid_is_in_the_text(change: dict[str, Any]) -> None:
    other = replace(PARAMS, grids=(IMAGE, replace(GRID, **change)))
    assert render_image_test(other, AVX512) != render_image_test(PARAMS, AVX512)


@pytest.mark.parametrize("change", CASES, ids=str)
def test_every_parameter_of_the_image_is_in_the_text(change: dict[str, Any]) -> None:
    assert render_image_test(replace(PARAMS, **change), AVX512) != render_image_test(PARAMS, AVX512)


def test_no_parameter_is_left_out_of_the_cases() -> None:
    assert {name for change in CASES for name in change} == {one.name for one in fields(ImageTestParams)}
    assert {name for change in LEVEL_CASES for name in change} == {one.name for one in fields(ImageTestLevel)}
    assert {name for change in GRID_CASES for name in change} == {one.name for one in fields(ImageTestGrid)}


def test_the_text_is_pure_and_for_one_kind_of_vector() -> None:
    text = render_image_test(PARAMS, AVX512)
    assert text == render_image_test(replace(PARAMS, levels=(replace(FINE), replace(COARSE))), AVX512)
    assert text != render_image_test(PARAMS, PORTABLE)
    assert "61x83" in text.splitlines()[0] and "avx512" in text.splitlines()[0]
    assert "{%" not in text and "}}\n" not in text and "None" not in text


def test_shapes_worked_out_by_hand() -> None:
    assert PARAMS.shapes == ((8, 11), (3, 4))
    assert PARAMS.offsets == (0, 88)
    assert PARAMS.mask_bytes == 100
    assert PARAMS.grid_offsets == (0, 61 * 83)
    nothing = replace(PARAMS, levels=())
    assert (nothing.shapes, nothing.offsets, nothing.mask_bytes) == ((), (), 0)


def test_parameters_are_geometry_without_thresholds() -> None:
    other = replace(GRID, index=3, height=30, width=41)
    expected = ImageTestParams(height=61, width=83, channels=3, levels=(FINE,), grids=(IMAGE, GRID, other))
    assert image_test_params(GRIDS[0], 3, (LEVEL,), GRIDS) == expected
    assert image_test_params(GRIDS[0], 3, (replace(LEVEL, tau=7),), GRIDS) == expected
    moves_otherwise = image_test_params(GRIDS[0], 3, (replace(LEVEL, grids=(3, 2)),), GRIDS)
    assert moves_otherwise.levels[0].features == (30, 41)


def test_levels_of_whole_cells_keep_their_sums() -> None:
    whole = replace(FINE, stride=(Fraction(32), Fraction(16)), low_pass_px=8)
    aligned = replace(PARAMS, height=64, width=96, levels=(FINE, whole, COARSE, whole))
    assert [aligned.keeps_sums(level) for level in aligned.levels] == [False, True, False, True]
    assert aligned.slots == (0, 0, 1, 1) and aligned.pictures == 2
    for other in (
        replace(whole, low_pass_px=4),
        replace(whole, in_pixels=True),
        replace(whole, stride=(Fraction(12), Fraction(16))),
        replace(whole, stride=(Fraction(32), Fraction(33, 2))),
    ):
        assert not aligned.keeps_sums(other)
    for size in ({"height": 60}, {"width": 92}):
        assert not replace(aligned, **size).keeps_sums(whole)  # type: ignore[arg-type]


def test_a_name_that_the_template_does_not_get_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = templates.environment()
    loader = jinja2.DictLoader({"cpp/image_test.cpp.jinja": "a\nb {{ p.nothing }}"})
    monkeypatch.setattr(templates, "environment", lambda: environment.overlay(loader=loader))
    with pytest.raises(RenderError, match=r"image_test\.cpp\.jinja.*no attribute 'nothing'"):
        render_image_test(PARAMS, AVX512)
