"""`fluxshard.offload` with a latency profile: what of it is taken, and what is said where it does not serve."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fluxshard
from fluxshard.api import CompiledModel
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.options import ReuseOptions
from fluxshard.pipeline.profiling.measured import measured_of
from fluxshard.runtime.offload.dispatch import DispatchInputs, DispatchOptions
from fluxshard.runtime.offload.latency_model import Sample, fit
from fluxshard.runtime.offload.latency_profile import LatencyProfile
from fluxshard.testing.offload.two_places import SIZE, moving_frames

REUSE = ReuseOptions(tau_input=0.02, tau=0.05)
MODEL = fit([Sample(work=(n / 20,), ms=5 + n) for n in range(21)])


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.ReLU())
    return fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=fluxshard.CompileOptions(backend="reference"))


def saved(model: CompiledModel, path: Path, **more: object) -> Path:
    measured = measured_of(model, "propagated")
    replace(LatencyProfile(measured=measured, model=MODEL), **more).save(path)  # type: ignore[arg-type]
    return path


def first_inputs(model: CompiledModel, profile: Path | None, dispatch: DispatchOptions) -> DispatchInputs:
    options = OffloadOptions(latency_profile=profile, dispatch=dispatch, insecure=True)
    with fluxshard.offload(model, "127.0.0.1:1", reuse=REUSE, options=options) as stream:
        stream.run(next(moving_frames(1)))
        return stream.record.inputs


def test_energy_of_the_profile_is_expected_of_frames(model: CompiledModel, tmp_path: Path) -> None:
    path = saved(model, tmp_path / "p.json", energy_mj=MODEL, rest_mw=2000.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inputs = first_inputs(model, path, DispatchOptions(minimize="energy"))
    assert inputs.edge_ms is not None and inputs.edge_mj == pytest.approx(inputs.edge_ms)


@pytest.mark.parametrize("given", [None, {}, {"energy_mj": MODEL}], ids=["no profile", "no energy", "no rest"])
def test_without_energy_latency_decides(model: CompiledModel, tmp_path: Path, given: dict[str, object] | None) -> None:
    path = None if given is None else saved(model, tmp_path / "p.json", **given)
    with pytest.warns(RuntimeWarning, match="needs a latency profile of this machine with energy"):
        inputs = first_inputs(model, path, DispatchOptions(minimize="energy"))
    assert inputs.edge_mj is None


def test_a_profile_of_something_else(model: CompiledModel, tmp_path: Path) -> None:
    path = saved(model, tmp_path / "p.json", energy_mj=MODEL, rest_mw=2000.0)
    profile = LatencyProfile.load(path)
    replace(profile, measured=replace(profile.measured, device="another")).save(path)
    with pytest.warns(RuntimeWarning, match="does not fit"):
        inputs = first_inputs(model, path, DispatchOptions())
    assert inputs.edge_ms is None and inputs.edge_mj is None
