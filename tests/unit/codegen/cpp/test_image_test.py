"""Generated image test: the text has all parameters in it and nothing else, and the shapes are those of the masks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

import jinja2
import pytest

from fluxshard.codegen.common import templates
from fluxshard.codegen.cpp.image_test import ImageTestLevel, ImageTestParams, image_test_params, render_image_test
from fluxshard.errors import RenderError
from fluxshard.geometry import Grid
from tests.unit.codegen.targets import AVX512, PORTABLE

TWO, FOUR = Fraction(2), Fraction(4)
FINE = ImageTestLevel(stride=(TWO, TWO), features=(31, 42), shard_px=8, low_pass_px=1, in_pixels=False)
COARSE = ImageTestLevel(stride=(FOUR, Fraction(9, 2)), features=(16, 19), shard_px=24, low_pass_px=2, in_pixels=False)
PARAMS = ImageTestParams(height=61, width=83, channels=3, levels=(FINE, COARSE))

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


@pytest.mark.parametrize("change", CASES, ids=str)
def test_every_parameter_of_the_image_is_in_the_text(change: dict[str, Any]) -> None:
    assert render_image_test(replace(PARAMS, **change), AVX512) != render_image_test(PARAMS, AVX512)


def test_no_parameter_is_left_out_of_the_cases() -> None:
    assert {name for change in CASES for name in change} == {one.name for one in fields(ImageTestParams)}
    assert {name for change in LEVEL_CASES for name in change} == {one.name for one in fields(ImageTestLevel)}


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
    nothing = replace(PARAMS, levels=())
    assert (nothing.shapes, nothing.offsets, nothing.mask_bytes) == ((), (), 0)


def test_parameters_are_geometry_without_thresholds() -> None:
    expected = ImageTestParams(height=61, width=83, channels=3, levels=(FINE,))
    assert image_test_params(GRIDS[0], 3, (LEVEL,), GRIDS) == expected
    assert image_test_params(GRIDS[0], 3, (replace(LEVEL, tau=7),), GRIDS) == expected
    moves_otherwise = image_test_params(GRIDS[0], 3, (replace(LEVEL, grids=(3, 2)),), GRIDS)
    assert moves_otherwise.levels[0].features == (30, 41)


def test_a_name_that_the_template_does_not_get_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = templates.environment()
    loader = jinja2.DictLoader({"cpp/image_test.cpp.jinja": "a\nb {{ p.nothing }}"})
    monkeypatch.setattr(templates, "environment", lambda: environment.overlay(loader=loader))
    with pytest.raises(RenderError, match=r"image_test\.cpp\.jinja.*no attribute 'nothing'"):
        render_image_test(PARAMS, AVX512)
