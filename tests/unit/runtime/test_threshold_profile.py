"""Calibrated profiles: what is kept, and which networks they are for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import fluxshard
from fluxshard.errors import OptionError, ProfileError
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile, network_digest, weights_digest

THRESHOLDS = st.floats(0, 1e6)
COUNTS = st.integers(0, 250)
LEVELS = st.builds(
    LevelOptions,
    gain=st.none() | THRESHOLDS,
    dilation=st.integers(0, 9),
    shard_px=st.none() | st.integers(1, 16).map(lambda n: 8 * n),
    low_pass_px=st.sampled_from((None, 1, 2, 4, 8)),
)
PLANNED = st.builds(
    PlannedOptions,
    tau=THRESHOLDS,
    tau_background=st.none() | THRESHOLDS,
    tau_small=st.none() | THRESHOLDS,
    tau_waiting=THRESHOLDS,
    wait_frames=COUNTS,
    refresh_frames=COUNTS,
    hold_frames=COUNTS,
    margin_px=st.integers(0, 10**6),
    small_px=st.integers(0, 10**6),
    region_confidence=st.floats(0, 1),
    levels=st.dictionaries(st.integers(1, 64), LEVELS, max_size=3),
    pixel_range=st.sampled_from(((0.0, 1.0), (-1.0, 1.0), (-2.117, 2.64))),
)
REUSE = st.one_of(
    st.builds(ReuseOptions, policy=st.just("planned"), planned=PLANNED, scene_cut=st.floats(0.01, 1)),
    st.builds(
        ReuseOptions,
        rfap=st.sampled_from(("compact", "per_layer", "off")),
        remap=st.booleans(),
        input=st.sampled_from((None, "assembled", "fresh")),
        tau_input=THRESHOLDS,
        tau=THRESHOLDS | st.dictionaries(st.text(max_size=8), THRESHOLDS, max_size=3),
        execution=st.sampled_from(("sparse", "dense")),
        canvas_fill=st.floats(-10, 10),
    ),
)


class Net(nn.Module):
    """Two convolutions, a pooling and an island; in odd sizes stride 2 has two grids."""

    def __init__(self, channels: int = 4, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, 2, dilation, dilation)
        self.pool, self.last = nn.MaxPool2d(2), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.conv(x)
        return y, self.last(self.pool(x)), y.flatten(2).softmax(-1)


class Swapped(Net):
    """The same layers in another order."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.conv(x)
        return y, self.pool(self.last(x)), y.flatten(2).softmax(-1)


def _compiled(net: nn.Module, size: tuple[int, int] = (32, 48), **options: Any) -> fluxshard.CompiledModel:
    options = {"backend": "reference", **options}
    example = torch.zeros(1, 3, *size)
    return fluxshard.compile(net.eval(), example, options=fluxshard.CompileOptions(**options))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def _profile(model: fluxshard.CompiledModel, reuse: ReuseOptions | None = None, canvas_px: int = 0) -> ThresholdProfile:
    return ThresholdProfile(
        reuse=reuse or ReuseOptions(policy="planned", planned=PlannedOptions(tau=0.125)),
        canvas_px=canvas_px,
        network=network_digest(model.plan),
        weights=weights_digest(model.plan, model.weights),
    )


@given(reuse=REUSE, canvas_px=st.integers(0, 128), name=st.text(min_size=1, max_size=5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, reuse: ReuseOptions, canvas_px: int, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    facts = {name: [1, 2.5, None, {"more": name}]}
    profile = ThresholdProfile(reuse=reuse, canvas_px=canvas_px, network="a" * 64, weights=name, facts=facts)
    profile.save(path)
    assert ThresholdProfile.load(path) == ThresholdProfile.load(str(path)) == profile
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(path.name)] == [path.name]


def test_a_profile_is_json_for_people(tmp_path: Path) -> None:
    planned = PlannedOptions(tau=0.25, levels={8: LevelOptions(gain=2.0)})
    reuse = ReuseOptions(policy="planned", planned=planned, profile="elsewhere.json")
    ThresholdProfile(reuse=reuse, canvas_px=32, network="n", weights="w", facts={"clips": ["a"]}).save(
        tmp_path / "p.json"
    )
    body = json.loads((tmp_path / "p.json").read_text())
    assert (body["format"], body["network"], body["weights"], body["canvas_px"]) == (1, "n", "w", 32)
    assert body["reuse"]["planned"]["tau"] == 0.25 and body["reuse"]["planned"]["levels"]["8"]["gain"] == 2.0
    assert body["facts"] == {"clips": ["a"]} and "profile" not in body["reuse"]
    assert ThresholdProfile.load(tmp_path / "p.json").reuse.profile is None


def test_saving_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("x" * 100_000)
    profile = ThresholdProfile(reuse=ReuseOptions(), canvas_px=0, network="n", weights="w")
    profile.save(path)
    assert ThresholdProfile.load(path) == profile


def _set(*keys: str, to: object) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in keys[:-1]:
            body = body[key]
        body[keys[-1]] = to

    return change


def _without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for key in keys[:-1]:
            body = body[key]
        del body[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format", to=2), "has format 2; this version reads 1: calibrate again"),
        (_without("format"), "has format None"),
        (_without("reuse"), "KeyError: 'reuse'"),
        (_without("weights"), "KeyError: 'weights'"),
        (_without("reuse", "planned"), "KeyError: 'planned'"),
        (_set("canvas_px", to="wide"), "cannot be read: ValueError"),
        (_set("canvas_px", to=float("inf")), "cannot be read: OverflowError"),
        (_set("reuse", "planned", "tau", to=10**400), "cannot be read: OverflowError"),
        (_set("reuse", to=[1]), "cannot be read"),
        (_set("reuse", "planned", to=3), "cannot be read: TypeError"),
        (_set("reuse", "policy", to="guess"), r"policy \(='guess'\) must be one of"),
        (_set("reuse", "scene_cut", to=2.0), r"scene_cut \(=2.0\)"),
        (_set("reuse", "newer", to=1), "reuse has newer, which this version does not know"),
        (_set("reuse", "planned", "tau", to=-1), r"tau \(=-1\) must be a finite number"),
        (_set("reuse", "planned", "tau", to=float("nan")), r"tau \(=nan\)"),
        (_set("reuse", "planned", "tau", to="low"), r"tau \(='low'\) must be a finite number"),
        (_set("reuse", "planned", "hold_frames", to=2.5), r"hold_frames \(=2.5\)"),
        (_set("reuse", "planned", "newer", to=1), "cannot be read: TypeError.*newer"),
        (_set("reuse", "planned", "pixel_range", to=[1, 0]), r"pixel_range \(=\(1, 0\)\)"),
        (_set("reuse", "planned", "levels", to={"8": {"low_pass_px": 3}}), r"low_pass_px \(=3\)"),
        (_set("reuse", "planned", "levels", to={"eight": {}}), "cannot be read: ValueError"),
        (_set("reuse", "planned", "levels", to={"8": {"colour": 3}}), "cannot be read: TypeError.*colour"),
    ],
)
def test_damaged_profiles(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    path = tmp_path / "p.json"
    ThresholdProfile(reuse=ReuseOptions(policy="planned"), canvas_px=0, network="n", weights="w").save(path)
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))
    with pytest.raises(ProfileError, match=message) as caught:
        ThresholdProfile.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"a"', "\x00\x01", '{"format": 1'])
def test_what_is_no_profile(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match="cannot be read"):
        ThresholdProfile.load(path)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ProfileError, match="cannot be read"):
        ThresholdProfile.load(path)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"nothing\.json' cannot be read: No such file"):
        ThresholdProfile.load(tmp_path / "nothing.json")
    with pytest.raises(ProfileError, match="cannot be read"):
        ThresholdProfile.load(tmp_path)


def test_cut_off_profiles_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    ThresholdProfile(reuse=ReuseOptions(), canvas_px=0, network="n", weights="w").save(path)
    text = path.read_text().rstrip()
    for length in range(0, len(text), 7):
        path.write_text(text[:length])
        with pytest.raises(ProfileError):
            ThresholdProfile.load(path)


def test_a_network_is_the_same_in_all_sizes(net: Net) -> None:
    plans = [_compiled(net, size).plan for size in ((32, 48), (64, 32), (33, 49), (35, 48))]
    assert len({plan.digest() for plan in plans}) == 4 and len(plans[2].grids) > len(plans[0].grids)
    assert len({network_digest(plan) for plan in plans}) == 1
    assert len(network_digest(plans[0])) == 64


def test_networks_differ(net: Net) -> None:
    others = [net, Swapped(), Net(dilation=2), nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1))]
    assert len({network_digest(_compiled(other).plan) for other in others}) == len(others)
    same = network_digest(_compiled(Net()).plan)
    assert same == network_digest(_compiled(net).plan)  # weights are another matter


def test_one_weight_makes_other_weights(net: Net) -> None:
    model = _compiled(net)
    kept = weights_digest(model.plan, model.weights)
    assert kept == weights_digest(model.plan, {name: one.clone() for name, one in model.weights.items()})
    assert kept == weights_digest(_compiled(net, (64, 64)).plan, _compiled(net, (64, 64)).weights)
    changed = 0
    for name, tensor in model.weights.items():
        other = tensor.clone()
        other.view(-1)[-1] += 2**-20
        assert not torch.equal(other, tensor)
        changed += weights_digest(model.plan, {**model.weights, name: other}) != kept
    assert changed == len(model.weights) >= 4


def test_weights_that_lie_otherwise_in_memory_are_the_same(net: Net) -> None:
    model = _compiled(net)
    strided = {name: torch.stack((one, one + 1), -1)[..., 0] for name, one in model.weights.items()}
    assert not all(one.is_contiguous() for one in strided.values())
    assert weights_digest(model.plan, strided) == weights_digest(model.plan, model.weights)


def test_check(net: Net) -> None:
    model = _compiled(net)
    profile = _profile(model)
    profile.check(model.plan, model.weights)
    other = _compiled(Net(dilation=2))
    with pytest.raises(ProfileError, match="another network than Net: calibrate this one"):
        profile.check(other.plan, other.weights)
    torch.manual_seed(1)
    trained = _compiled(Net())
    with pytest.raises(ProfileError, match="other weights of Net: calibrate these"):
        profile.check(trained.plan, trained.weights)


def test_a_session_takes_all_options_of_a_profile(net: Net, tmp_path: Path) -> None:
    model = _compiled(net)
    profile = _profile(model)
    profile.save(tmp_path / "p.json")
    with model.session(ReuseOptions(tau_input=0.5, scene_cut=0.1, profile=tmp_path / "p.json")) as session:
        assert session.reuse == profile.reuse and session.reuse.policy == "planned"
        for size in ((32, 48), (33, 49)):  # another size of the same network
            session.run(torch.zeros(1, 3, *size))
            session.run(torch.zeros(1, 3, *size))
            assert session.planned is not None and session.stats.compute_ratio == 0


def test_a_session_refuses_the_profiles_of_others(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    _profile(_compiled(net)).save(path)
    torch.manual_seed(1)
    for other, message in ((Net(dilation=2), "another network"), (Net(), "other weights")):
        with _compiled(other).session(ReuseOptions(profile=path)) as session:
            for _ in range(2):
                with pytest.raises(ProfileError, match=message):
                    session.run(torch.zeros(1, 3, 32, 48))
    with pytest.raises(ProfileError, match="cannot be read"):
        _compiled(net).session(ReuseOptions(profile=str(tmp_path / "other.json")))


@pytest.mark.parametrize(("compiled", "found"), [(0, 8), (8, 0), (8, 16)])
def test_a_profile_of_another_canvas(net: Net, tmp_path: Path, compiled: int, found: int) -> None:
    model = _compiled(net, canvas_px=compiled)
    _profile(model, canvas_px=found).save(tmp_path / "p.json")
    message = rf"found with canvas_px={found}.*compiled with {compiled}: .*canvas_px={found}\)"
    with pytest.raises(OptionError, match=message):
        model.session(ReuseOptions(profile=tmp_path / "p.json"))
    _profile(model, canvas_px=compiled).save(tmp_path / "p.json")
    with model.session(ReuseOptions(profile=tmp_path / "p.json")) as session:
        session.run(torch.zeros(1, 3, 32, 48))
        assert session.stats.keyframe
