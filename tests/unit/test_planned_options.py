"""Options of planned reuse: what is allowed, and what is said about the rest."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from fluxshard.errors import OptionError
from fluxshard.options import MOST_FRAMES, CompileOptions, LevelOptions, PlannedOptions, ReuseOptions

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gain": -0.5}, r"gain \(=-0.5\) must be a finite number >= 0"),
        ({"gain": NAN}, "gain"),
        ({"gain": INF}, "gain"),
        ({"dilation": -1}, r"dilation \(=-1\) must be a whole number >= 0"),
        ({"dilation": 1.0}, "dilation"),
        ({"dilation": True}, "dilation"),
        ({"shard_px": 0}, r"shard_px \(=0\) must be a multiple of 8"),
        ({"shard_px": -8}, "shard_px"),
        ({"shard_px": 12}, "shard_px"),
        ({"low_pass_px": 3}, r"low_pass_px \(=3\) must be one of 1, 2, 4, 8"),
        ({"low_pass_px": 16}, "low_pass_px"),
        ({"low_pass_px": 0}, "low_pass_px"),
    ],
)
def test_levels_that_are_not_allowed(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LevelOptions(**given)


def test_levels_that_are_allowed() -> None:
    LevelOptions(gain=0.0, dilation=0, shard_px=8, low_pass_px=1)
    LevelOptions(gain=7, dilation=30, shard_px=1024, low_pass_px=8)


def _planned(name: str, value: Any) -> PlannedOptions:
    given: dict[str, Any] = {name: value}
    return PlannedOptions(**given)


NUMBERS = ("tau", "tau_background", "tau_small", "tau_waiting", "region_confidence")
FRAMES = ("wait_frames", "refresh_frames", "hold_frames")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1e-9, NAN, INF])
def test_thresholds_are_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=rf"^{name} "):
        _planned(name, value)
    _planned(name, 0.0)


@pytest.mark.parametrize("name", [*FRAMES, "margin_px", "small_px"])
@pytest.mark.parametrize("value", [-1, 2.0, True, "2"])
def test_counts_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=rf"^{name} .*whole number"):
        _planned(name, value)
    _planned(name, 0)


@pytest.mark.parametrize("name", FRAMES)
def test_ages_fit_in_a_byte(name: str) -> None:
    _planned(name, MOST_FRAMES)
    with pytest.raises(OptionError, match=rf"{name} \(=251\) must be at most 250"):
        _planned(name, MOST_FRAMES + 1)


@pytest.mark.parametrize("value", [(1.0, 1.0), (1.0, 0.0), (NAN, 1.0), (0.0, NAN), (-INF, 0.0), (0.0, INF)])
def test_the_range_of_pixels_has_two_ends(value: tuple[float, float]) -> None:
    with pytest.raises(OptionError, match=r"pixel_range .* the smaller first"):
        PlannedOptions(pixel_range=value)


def test_thresholds_that_may_be_left_out() -> None:
    planned = PlannedOptions(tau_background=None, tau_small=None)
    assert planned.tau_background is None and planned.tau_small is None
    with pytest.raises(TypeError):
        PlannedOptions(tau=None)  # type: ignore[arg-type]


def test_what_is_fed_to_the_network() -> None:
    assert ReuseOptions().input_mode == "assembled"
    assert ReuseOptions(policy="planned").input_mode == "fresh"
    for policy in ("propagated", "planned"):
        for mode in ("assembled", "fresh"):
            assert ReuseOptions(policy=policy, input=mode).input_mode == mode


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "guessed"}, r"policy \(='guessed'\) must be one of 'propagated', 'planned'"),
        ({"policy": "planned", "remap": False}, "remap"),
        ({"policy": "planned", "execution": "dense"}, r"execution \(='dense'\) is an ablation of policy 'propagated'"),
        ({"input": "old"}, r"input \(='old'\) must be one of None, 'assembled', 'fresh'"),
        ({"execution": "eager"}, r"execution \(='eager'\) must be one of 'sparse', 'dense'"),
        ({"scene_cut": NAN}, "scene_cut"),
        ({"scene_cut": 1.01}, "scene_cut"),
        ({"scene_cut": 0.0}, "scene_cut"),
    ],
)
def test_reuse_that_is_not_allowed(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ReuseOptions(**given)


def test_ablations_of_propagated_reuse() -> None:
    assert ReuseOptions(execution="dense", remap=False).execution == "dense"
    assert ReuseOptions(policy="planned", scene_cut=1.0).execution == "sparse"


def test_canvases_are_not_smaller_than_images() -> None:
    assert CompileOptions().canvas_px == 0 and CompileOptions(canvas_px=32).canvas_px == 32
    with pytest.raises(OptionError, match=r"canvas_px \(=-8\)"):
        CompileOptions(canvas_px=-8)


def test_options_stay_as_they_are() -> None:
    for options, name in ((PlannedOptions(), "tau"), (LevelOptions(), "gain"), (ReuseOptions(), "profile")):
        with pytest.raises(FrozenInstanceError):
            setattr(options, name, 0.5)
    assert PlannedOptions().levels is not PlannedOptions().levels
