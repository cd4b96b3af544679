"""What `fluxshard run` reuses: flags, threshold profiles, the canvas, and what is said of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fluxshard.cli.support.reuse_flags import ReuseFlags, describe, settle
from fluxshard.errors import OptionError, ProfileError
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile
from fluxshard.testing.fake_session import YOLO_LIKE

ANY_SIZE = LoadedModel(torch.nn.Identity())
ONE_SIZE = LoadedModel(torch.nn.Identity(), input_shape=(64, 96))


def a_profile(path: Path, canvas_px=64, **options):
    planned = PlannedOptions(tau=0.07, levels={8: LevelOptions(gain=2.0)})
    profile = ThresholdProfile(
        reuse=ReuseOptions(policy="planned", planned=planned, **options), canvas_px=canvas_px, network="n", weights="w"
    )
    profile.save(path)
    return profile


def test_planned_reuse_is_the_default():
    reuse = settle(ReuseFlags())
    assert reuse.options == ReuseOptions(policy="planned") and reuse.threshold_profile is None
    assert reuse.canvas_px(YOLO_LIKE) == 0 and reuse.canvas_px(ONE_SIZE) == 0
    assert settle(ReuseFlags(canvas=False)).canvas_px(YOLO_LIKE) == 0


def test_exact_is_one_word():
    flags = ReuseFlags(exact=True)
    reuse = settle(flags)
    assert reuse.options == ReuseOptions.exact() and not reuse.canvas
    assert describe(flags, reuse.options, 0, "float32").startswith("propagated reuse, no thresholds; exact: equals")
    with pytest.raises(OptionError, match="--exact says what to reuse: leave out --tau, or --exact"):
        settle(ReuseFlags(exact=True, tau=0.1))


def test_the_canvas_is_as_large_as_the_stride():
    reuse = settle(ReuseFlags(canvas=True))
    assert reuse.canvas_px(YOLO_LIKE) == 32 and reuse.canvas_px(replace(YOLO_LIKE, stride_px=64)) == 64
    assert reuse.canvas_px(ANY_SIZE) == 32  # its stride is not known


def test_propagated_reuse_keeps_its_defaults():
    reuse = settle(ReuseFlags(policy="propagated"))
    assert reuse.options == ReuseOptions(tau_input=0.02, tau=0.1, rfap="compact", input="assembled", remap=True)
    assert reuse.canvas_px(YOLO_LIKE) == 0
    flags = ReuseFlags(
        policy="propagated", canvas=False, tau_input=0.0, tau=0.0, rfap="off", input="fresh", remap=False
    )
    assert settle(flags).options == ReuseOptions(rfap="off", input="fresh", remap=False)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (ReuseFlags(tau_input=0.0), "--tau-input is for --policy propagated; .* or leave out it"),
        (
            ReuseFlags(policy="planned", tau=0.1, rfap="compact", input="fresh", remap=True),
            "--tau, --rfap, --input, --remap are for --policy propagated; .* leave out them",
        ),
        (ReuseFlags(remap=False), "--no-remap is for"),
        (ReuseFlags(policy="propagated", canvas=True), "--canvas is for --policy planned"),
        (ReuseFlags(policy="propagated", tau=-1.0), "tau"),
    ],
)
def test_flags_that_do_not_go_together(flags, message):
    with pytest.raises(OptionError, match=message):
        settle(flags)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (ReuseFlags(policy="planned"), "--policy"),
        (ReuseFlags(canvas=True), "--canvas"),
        (ReuseFlags(canvas=False, tau=0.0, tau_input=0.0), "--no-canvas, --tau-input, --tau"),
        (ReuseFlags(remap=False, rfap="off", input="fresh"), "--rfap, --input, --no-remap"),
    ],
)
def test_what_a_profile_sets_cannot_be_given_beside_it(flags, names, tmp_path):
    a_profile(tmp_path / "p.json")
    with pytest.raises(OptionError, match=re.escape(f"--profile sets what {names} would set: leave out")):
        settle(replace(flags, profile=tmp_path / "p.json"))


def test_a_profile_decides_policy_thresholds_and_canvas(tmp_path):
    profile = a_profile(tmp_path / "p.json", scene_cut=0.5)
    reuse = settle(ReuseFlags(profile=tmp_path / "p.json"))
    assert reuse.options == profile.reuse and reuse.threshold_profile == profile
    assert reuse.canvas_px(YOLO_LIKE) == 64
    a_profile(tmp_path / "small.json", canvas_px=0)
    assert settle(ReuseFlags(profile=tmp_path / "small.json")).canvas_px(ONE_SIZE) == 0


def test_a_program_of_one_size_takes_no_canvas(tmp_path):
    a_profile(tmp_path / "p.json")
    for flags, word in ((ReuseFlags(canvas=True), "--canvas"), (ReuseFlags(profile=tmp_path / "p.json"), "64 px")):
        with pytest.raises(OptionError, match=f"{word} .* exported for 64x96 only"):
            settle(flags).canvas_px(ONE_SIZE)


def test_profiles_that_cannot_be_read(tmp_path):
    (tmp_path / "half.json").write_text('{"format": 1, "network"')
    (tmp_path / "future.json").write_text('{"format": 99}')
    for name in ("no.json", "half.json", "future.json"):
        with pytest.raises(ProfileError, match=name):
            settle(ReuseFlags(profile=tmp_path / name))


def test_what_is_said_of_the_thresholds(tmp_path):
    a_profile(tmp_path / "street.json")

    def said(flags, canvas_px=0, dtype="float32"):
        return describe(flags, settle(flags).options, canvas_px, dtype)

    assert said(ReuseFlags(), 32).startswith("planned reuse, default thresholds, on a canvas of +32 px; approximate: ")
    shipped = PlannedOptions()
    assert f"less than {shipped.tau:g} ({shipped.tau_background:g} away from objects)" in said(ReuseFlags())
    raw = describe(ReuseFlags(), settle(ReuseFlags()).options, 0, "float32", finds_objects=False)
    assert f"less than {shipped.tau:g} ({shipped.tau_background:g} where the outputs do not react) is reused" in raw
    assert said(ReuseFlags(profile=tmp_path / "street.json")).startswith("planned reuse, profile street.json; approx")
    assert "less than 0.07 " in said(ReuseFlags(profile=tmp_path / "street.json"))
    loose = said(ReuseFlags(policy="propagated"))
    assert loose.startswith("propagated reuse, default thresholds; approximate: pixels within 0.02 and features within")
    exact = ReuseFlags(policy="propagated", tau_input=0.0, tau=0.0, rfap="per_layer", input="fresh")
    assert said(exact) == "propagated reuse, given thresholds; exact: equals the dense network up to rounding"
    assert said(exact, dtype="float16").endswith("rounding to float16")
    assert "approximate" in said(replace(exact, input=None))
