"""Profiles an endpoint: measures frames, and fits latency and energy to their predicted work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluxshard.api import CompiledModel
from fluxshard.options import ReuseOptions
from fluxshard.pipeline.profiling.measure import Clip, MeasuredFrame, measure_frames
from fluxshard.pipeline.profiling.measured import measured_of
from fluxshard.pipeline.profiling.other_load import OtherLoad
from fluxshard.pipeline.profiling.rest_power import rest_power_mw
from fluxshard.pipeline.profiling.schedule import ProfilingOptions
from fluxshard.pipeline.stream_loop import Detect
from fluxshard.runtime.offload.energy import EnergyMeter
from fluxshard.runtime.offload.latency_model import MIN_SAMPLES, LatencyModel, Sample, fit
from fluxshard.runtime.offload.latency_profile import LatencyProfile

_UPDATES = 10  # of a meter, over which a difference is meant to be taken


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledEndpoint:
    """A profile, and what it was fitted to.

    Attributes:
      profile: of the endpoint.
      frames: that were measured, in the order in which they ran.
    """

    profile: LatencyProfile
    frames: tuple[MeasuredFrame, ...]


def profile_latency(
    model: CompiledModel,
    clip: Clip,
    reuse: ReuseOptions,
    options: ProfilingOptions | None = None,
    *,
    detect: Detect | None = None,
    meter: EnergyMeter | None = None,
    facts: Mapping[str, Any] | None = None,
    on_frame: Callable[[MeasuredFrame], None] = lambda _: None,
) -> ProfiledEndpoint:
    """Measures a model on this machine and fits its latency, and its energy where there is a meter.

    Args:
      model: compiled for the clip's images.
      clip: opens the clip; see `measure.Clip`.
      reuse: what its sessions reuse.
      options: which frames are run; None takes the defaults.
      detect: decodes outputs into the objects that planned reuse is focused on; see `measure_frames`.
      meter: of energy, which stays open; None where there is none.
      facts: what to keep in the profile for people, besides what is measured.
      on_frame: called after every measured frame.

    Raises:
      ProfileError: fewer frames than a fit needs.
      FluxShardError: a session or the clip fails.
    """
    options = options or ProfilingOptions()
    frames: list[MeasuredFrame] = []
    rest_mw = None if meter is None else rest_power_mw(meter)  # before the first frame has warmed anything
    others = OtherLoad()
    for frame in measure_frames(model, clip, reuse, options, detect=detect, meter=meter):
        frames.append(frame)
        on_frame(frame)
    energy = None if meter is None else fit_energy(frames, meter.period_ms)
    found = {
        **_spread(frames),
        "other_load": others.share(),
        "meter": None if energy is None or meter is None else meter.name,
    }
    profile = LatencyProfile(
        measured=measured_of(model, reuse.policy),
        model=fit([Sample(work=frame.work, ms=frame.ms) for frame in frames]),
        energy_mj=energy,
        rest_mw=None if energy is None else rest_mw,
        facts={**(facts or {}), **found},
    )
    return ProfiledEndpoint(profile=profile, frames=tuple(frames))


def fit_energy(frames: Sequence[MeasuredFrame], period_ms: float) -> LatencyModel | None:
    """Fits energy per frame to predicted work; None where the meter gave too few samples.

    Frames in a row are taken together until they last several updates of the meter: their mean energy belongs to their
    mean work.

    Args:
      frames: in the order in which they ran.
      period_ms: between two updates of the meter.
    """
    samples: list[Sample] = []
    group: list[tuple[MeasuredFrame, float]] = []
    for frame in frames:
        if frame.energy_mj is None:
            group = []  # a sample is missing: what the meter adds to the next belongs to both
            continue
        group.append((frame, frame.energy_mj))
        if sum(one.ms for one, _ in group) < _UPDATES * period_ms:
            continue
        energy_mj = float(np.mean([mj for _, mj in group]))
        if energy_mj > 0:
            work = np.mean([one.work for one, _ in group], axis=0)
            samples.append(Sample(work=tuple(map(float, work)), ms=energy_mj))
        group = []
    return fit(samples) if len(samples) >= MIN_SAMPLES else None


def _spread(frames: Sequence[MeasuredFrame]) -> dict[str, Any]:
    """Range and quartiles of what was measured."""
    work, ms = [frame.work[0] for frame in frames], [frame.ms for frame in frames]
    return {
        "frames": len(frames),
        "keyframes": sum(frame.keyframe for frame in frames),
        "work": [round(float(value), 4) for value in np.quantile(work, (0, 0.25, 0.5, 0.75, 1))] if work else [],
        "latency_ms": [round(float(value), 3) for value in np.quantile(ms, (0, 0.25, 0.5, 0.75, 1))] if ms else [],
    }
