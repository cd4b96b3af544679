"""Latency profiles as files: what is written is read again, and what is damaged or of another endpoint is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fluxshard.errors import ProfileError
from fluxshard.runtime.offload.latency_model import Sample, fit
from fluxshard.runtime.offload.latency_profile import LatencyProfile, Measured

MEASURED = Measured(
    plan="a" * 64, weights="b" * 64, policy="planned", backend="cpp", dtype="float32", device="a processor", threads=2,
    version="fluxshard 0.1.0, torch 2.13.0",
)  # fmt: skip
MODEL = fit([Sample(work=(n / 20, n / 40), ms=5 + n) for n in range(20)])


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    for energy, rest_mw in ((None, None), (MODEL, 4650.0)):
        profile = LatencyProfile(
            measured=MEASURED, model=MODEL, energy_mj=energy, rest_mw=rest_mw, facts={"clips": ["walk.mp4"]}
        )
        profile.save(tmp_path / "latency.json")
        assert LatencyProfile.load(tmp_path / "latency.json") == profile


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 7}, "has format 7; this version reads 1"),
        ({"model": {}}, "cannot be read: KeyError"),
        ({"measured": {"plan": "a"}}, "cannot be read: TypeError"),
        ({"rest_mw": -1}, "rest_mw is -1"),
        ({"rest_mw": float("nan")}, "rest_mw is nan"),
        ({"rest_mw": [1]}, "cannot be read: TypeError"),
    ],
)
def test_damaged_files(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "latency.json"
    LatencyProfile(measured=MEASURED, model=MODEL).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ProfileError, match=message):
        LatencyProfile.load(path)


def test_a_curve_that_falls_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    LatencyProfile(measured=MEASURED, model=MODEL).save(path)
    body = json.loads(path.read_text())
    body["model"]["knots"].reverse()
    path.write_text(json.dumps(body))
    with pytest.raises(ProfileError, match="knots must rise"):
        LatencyProfile.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"base_ms": -0.5},
        {"error": -0.1},
        {"knots": [[-4.0, 1.0], [2.0, 3.0]]},
        {"knots": [[0.0, -1.0], [2.0, 3.0]]},
        {"knots": [[-1.0, -1.0]]},
    ],
)
def test_times_below_0_are_damaged(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "latency.json"
    LatencyProfile(measured=MEASURED, model=MODEL).save(path)
    body = json.loads(path.read_text())
    body["model"] |= change
    path.write_text(json.dumps(body))
    with pytest.raises(ProfileError, match="base_ms, error and knots must be at least 0"):
        LatencyProfile.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
@pytest.mark.parametrize("name", ["base_ms", "slopes_ms", "knots", "error", "samples"])
def test_numbers_that_are_none(tmp_path: Path, name: str, value: float) -> None:
    path = tmp_path / "latency.json"
    LatencyProfile(measured=MEASURED, model=MODEL).save(path)
    body = json.loads(path.read_text())
    lists = {"slopes_ms": [value], "knots": [[0.0, 1.0], [value, value]]}
    body["model"][name] = lists.get(name, value)
    if name == "samples" and value == 10**400:
        return  # any number of samples will do
    path.write_text(json.dumps(body))
    with pytest.raises(ProfileError, match="cannot be read"):
        LatencyProfile.load(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="No such file"):
        LatencyProfile.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("[1, 2")
    with pytest.raises(ProfileError, match="cannot be read"):
        LatencyProfile.load(tmp_path / "text.json")


def test_another_endpoint_is_named() -> None:
    profile = LatencyProfile(measured=MEASURED, model=MODEL)
    assert profile.differences(MEASURED) == []
    assert profile.differences(replace(MEASURED, threads=8, device="another")) == [
        "device: profiled 'a processor', here 'another'", "threads: profiled 2, here 8",
    ]  # fmt: skip
