"""Named sets of methods: no two share a name, and settings that differ can be told apart."""

from __future__ import annotations

from collections import defaultdict

import pytest

from fluxshard.errors import OptionError
from fluxshard.evaluate.methods.method import Coach, Method, Reuse, Skip, SkipMoved
from fluxshard.evaluate.methods.method_sets import (
    CARRIED,
    CARRIED_MORE,
    NamedThresholdProfile,
    ablations,
    carried_along,
    method_of_threshold_profile,
    methods_named,
    propagated,
    set_names,
)
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile


def settings(method: Method) -> tuple[str, str]:
    return type(method).__name__, repr(dict(method.facts))


def test_dense_is_always_first_and_there_once() -> None:
    assert [method.name for method in methods_named([], 32)] == ["dense"]
    for name in set_names():
        methods = methods_named([name], 32)
        assert methods[0].name == "dense" and methods[0].facts["whole"] is True
        assert [method.name for method in methods].count("dense") == 1
        assert name == "dense" or len(methods) > 1
    names = [method.name for method in methods_named(["skip", "dense", "skip", "coach"], 32)]
    assert names[:4] == ["dense", "skip every=2", "skip every=3", "skip every=4"] and len(names) == len(set(names))


def test_results_are_moved_over_gaps_that_are_held_and_longer_ones() -> None:
    """A gap that is held must be there as moved, too, to compare them."""
    periods = {
        name: [method.every for method in methods_named([name], 32) if isinstance(method, kind)]
        for name, kind in (("skip", Skip), ("skip-moved", SkipMoved))
    }
    assert periods == {"skip": [2, 3, 4], "skip-moved": [2, 3, 4, 6, 8]}


def test_a_name_stands_for_one_setting_and_a_setting_for_one_name() -> None:
    """Results are kept by name and settings, and reported by name."""
    by_name, by_settings = defaultdict(set), defaultdict(set)
    for name in set_names():
        for method in methods_named([name], 32):
            by_name[method.name].add((method.family, *settings(method)))
            by_settings[settings(method)].add(method.name)
    assert all(len(found) == 1 for found in by_name.values())
    assert all(len(found) == 1 for found in by_settings.values())


def test_sets_together_hold_what_they_hold_alone() -> None:
    together = {method.name for method in methods_named(set_names(), 32)}
    assert together == {method.name for name in set_names() for method in methods_named([name], 32)}


def test_families_differ_in_a_setting_only() -> None:
    for name in set(set_names()) - {"ablations"}:
        families = {method.family.replace(" online", "") for method in methods_named([name], 32)[1:]}
        assert len(families) <= 1


def test_the_size_of_the_canvas_reaches_the_methods_that_use_one() -> None:
    def canvases(canvas_px: int) -> dict[str, int]:
        methods = methods_named(set_names(), canvas_px)
        return {method.name: method.canvas_px for method in methods if isinstance(method, Reuse)}

    small, large = canvases(16), canvases(64)
    assert set(small.values()) == {0, 16} and set(large.values()) == {0, 64}
    assert {name for name, px in small.items() if px} == {name for name, px in large.items() if px}
    assert large["dense on canvas"] == 64 and large["dense"] == 0 and large["planned on canvas x1"] == 64
    assert large["planned x1"] == 0
    facts = {px: {method.name: settings(method) for method in methods_named(["planned-canvas"], px)} for px in (16, 64)}
    assert facts[16]["planned on canvas x1"] != facts[64]["planned on canvas x1"]


def test_what_levers_leave_out() -> None:
    def options(name: str) -> Reuse:
        method = methods_named([name], 0)[1]
        assert isinstance(method, Reuse)
        return method

    planned, believed, carried = map(options, ("planned", "planned-believed", "planned-carried"))
    assert planned.options.planned.candidates and not believed.options.planned.candidates
    assert not planned.skip.budget and carried.skip.budget
    assert "skip" in carried.facts and "skip" not in planned.facts


def test_rows_with_online_calibration_begin_with_the_shipped_thresholds() -> None:
    sets = (("planned", 0.0), ("planned-carried", CARRIED.budget), ("planned-carried-more", CARRIED_MORE.budget))
    for name, skip in sets:
        rows = [one for one in methods_named([name], 0) if isinstance(one, Reuse) and one.calibration is not None]
        assert len(rows) == 4 and all("calibration" in one.facts for one in rows)
        assert all(one.options == ReuseOptions(policy="planned") and one.skip.budget == skip for one in rows)
    assert "calibration" not in methods_named(["planned"], 0)[1].facts


def test_unknown_sets_are_named() -> None:
    with pytest.raises(OptionError, match=r"--methods: bogus, nope is not known; there are dense, canvas"):
        methods_named(["skip", "nope", "bogus"], 32)


def test_a_profile_becomes_a_method() -> None:
    planned = PlannedOptions(tau=0.07, levels={2: LevelOptions(gain=0.5)})
    reuse = ReuseOptions(policy="planned", planned=planned)
    profile = ThresholdProfile(reuse=reuse, canvas_px=16, network="n", weights="w")
    method = method_of_threshold_profile(NamedThresholdProfile("street", profile))
    assert (method.name, method.family, method.options, method.canvas_px) == ("street", "planned", reuse, 16)
    assert method.regions and method.motion == "blocks" and not method.whole
    carried = carried_along(method)
    assert (carried.name, carried.family, carried.skip) == ("street, carried", "planned, carried", CARRIED)
    assert (carried.options, carried.regions, carried.canvas_px) == (method.options, True, 16)
    other = ThresholdProfile(reuse=ReuseOptions(tau_input=0.1, tau={"a": 0.3}), canvas_px=0, network="n", weights="w")
    method = method_of_threshold_profile(NamedThresholdProfile("p", other))
    assert (method.family, method.options, method.regions) == ("propagated", other.reuse, False)


def test_ablations_change_one_thing_each() -> None:
    base = propagated(0.02, 0.1)
    assert (base.options.tau_input, base.options.tau, base.options.rfap) == (0.02, 0.1, "compact")
    changed = {method.name.removeprefix(base.name + " "): method.options for method in ablations(base)}
    assert changed == {
        "w/o RFAP": ReuseOptions(tau_input=0.02, tau=0.1, rfap="off"),
        "RFAP per layer": ReuseOptions(tau_input=0.02, tau=0.1, rfap="per_layer"),
        "w/o sparse": ReuseOptions(tau_input=0.02, tau=0.1, execution="dense"),
        "w/o remap": ReuseOptions(tau_input=0.02, tau=0.1, remap=False),
    }


def test_names_say_the_setting() -> None:
    assert Skip(every=3).name == "skip every=3" and Skip(every=3).facts == {"every": 3}
    assert SkipMoved(every=3).name == "skip-moved every=3" and SkipMoved(every=3).facts == {"every": 3, "moved": True}
    assert Coach(similarity=0.9).name == "coach ssim=0.9"
    assert Coach(similarity=0.9, sent="bits").name == "coach ssim=0.9 sent=bits"
    assert Coach(similarity=0.9).facts == {"similarity": 0.9, "sent": "area"}
