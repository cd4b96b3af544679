"""Profiles: the relation that frames have is found, saved and described."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

import fluxshard
from fluxshard.errors import ProfileError
from fluxshard.pipeline.profiling.measure import MeasuredFrame
from fluxshard.pipeline.profiling.measured import measured_of
from fluxshard.pipeline.profiling.profile_figure import draw_profile
from fluxshard.pipeline.profiling.profile_latency import ProfiledEndpoint, fit_energy, profile_latency
from fluxshard.pipeline.profiling.schedule import ProfilingOptions
from fluxshard.runtime.offload.latency_profile import LatencyProfile
from tests.unit.pipeline.profiling.timed_model import BASE_MS, WORK_MS, FakeMeter, TimedModel, clip

PLANNED = fluxshard.ReuseOptions(policy="planned")


def profiled(model: TimedModel, frames: int = 80, **more: Any) -> ProfiledEndpoint:
    given = cast(fluxshard.CompiledModel, model)
    return profile_latency(given, clip, PLANNED, ProfilingOptions(frames=frames), **more)


def test_the_profile_predicts_what_frames_take(tmp_path: Path) -> None:
    seen: list[MeasuredFrame] = []
    found = profiled(TimedModel(), on_frame=seen.append, facts={"clip": "blocks"})
    model = found.profile.model
    assert model.error < 0.05 and model.samples == 80 and tuple(seen) == found.frames
    for share in (0.2, 0.5, 1.0):
        assert model.predict_ms((share, share)) == pytest.approx(BASE_MS + WORK_MS * share, rel=0.1)
    facts = found.profile.facts
    assert facts["clip"] == "blocks" and facts["frames"] == 80 and facts["meter"] is None
    assert facts["keyframes"] == sum(frame.keyframe for frame in seen)
    assert len(facts["work"]) == len(facts["latency_ms"]) == 5 and facts["work"][-1] == 1.0
    assert found.profile.energy_mj is None
    found.profile.save(tmp_path / "p.json")
    assert LatencyProfile.load(tmp_path / "p.json").model == model
    draw_profile(found, tmp_path / "p.png", "blocks")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_energy_is_fitted_where_there_is_a_meter() -> None:
    model = TimedModel()
    found = profiled(model, meter=FakeMeter(model.engine))
    assert found.profile.energy_mj is not None and found.profile.facts["meter"] == "fake meter"
    assert found.profile.energy_mj.predict_ms((0.5, 0.5)) == pytest.approx(BASE_MS + WORK_MS / 2, rel=0.1)
    assert found.profile.rest_mw is not None


def test_a_meter_without_samples_gives_no_energy() -> None:
    model = TimedModel()
    found = profiled(model, 40, meter=FakeMeter(model.engine, fails=tuple(range(1000))))
    assert found.profile.energy_mj is None and found.profile.facts["meter"] is None


def test_too_few_frames() -> None:
    with pytest.raises(ProfileError, match="4 frames were measured"):
        profiled(TimedModel(), 4)


def frame_of(share: float, energy_mj: float | None) -> MeasuredFrame:
    return MeasuredFrame(work=(share,), ms=10.0, keyframe=False, stream=0, energy_mj=energy_mj)


def test_a_slow_meter_is_read_over_several_frames() -> None:
    """It gains 400 mJ at every fourth frame: over four frames that is 100 mJ each, over one it is 0 or 400."""
    frames = [frame_of(0.5, 400.0 if index % 4 == 3 else 0.0) for index in range(80)]
    slow = fit_energy(frames, period_ms=4.0)
    assert slow is not None and slow.samples == 20 and slow.predict_ms((0.5,)) == pytest.approx(100.0)
    fast = fit_energy(frames, period_ms=1.0)
    assert fast is not None and fast.samples == 20  # what shows nothing is no sample, never 0


def test_frames_beside_a_missing_sample_are_not_taken_together() -> None:
    frames = [frame_of(0.5, None if index % 3 == 2 else 100.0) for index in range(60)]
    assert fit_energy(frames, period_ms=3.0) is None  # three in a row never come
    found = fit_energy(frames, period_ms=2.0)
    assert found is not None and found.samples == 20


def test_what_was_measured_names_all_that_matters() -> None:
    model = TimedModel()
    measured = measured_of(cast(fluxshard.CompiledModel, model), "planned")
    assert measured.plan == model.plan.digest() and len(measured.weights) == 64
    assert (measured.policy, measured.backend, measured.dtype) == ("planned", "fake", "float32")
    assert measured.device and measured.threads == torch.get_num_threads()
    assert fluxshard.__version__ in measured.version and torch.__version__ in measured.version


def test_on_a_gpu_its_name_counts_and_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU at {device}")
    model = TimedModel(device=torch.device("cuda", 1))
    measured = measured_of(cast(fluxshard.CompiledModel, model), "propagated")
    assert (measured.device, measured.threads) == ("GPU at cuda:1", 0)
