"""Figures of a run: every counted frame counts the same, but for the age, which is a mean over time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.end_to_end.common_figures import age_area, loss_of
from fluxshard.evaluate.end_to_end.live.answers import COLUMNS, PARTS, Answers
from fluxshard.evaluate.end_to_end.live.methods import LiveMethod
from fluxshard.evaluate.end_to_end.live.runs import LiveRun
from fluxshard.evaluate.end_to_end.workload import EnergyModel

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFigures:
    """Of one method over one link, of answered frames unless said otherwise. Memory in MiB.

    Attributes:
      frames, unanswered: counted frames that were and were not answered.
      fps: answered per second.
      mean_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms: of latency.
      parts_ms: means of `PARTS`, by name; NaN where answers may be moved results, whose frames took none of them.
      edge_ms, cloud_ms: mean latency of frames by who answered; NaN where there are none.
      tx: bytes that went up over those of the same frames' raw images.
      kb: kilobytes that went up per frame.
      compute: mean share of the dense network's work.
      cloud, hedged, refreshed: shares.
      wasted: share of the bytes that went up for frames that the server did not answer.
      accuracy, dense_accuracy: means of the answers given, and of the dense network on the same frames; None where
        nothing can be compared.
      age_ms: mean over time of how long ago the newest answered frame was captured.
      missed: share of the captured frames that were never taken.
      edge_mib, server_mib: most resident memory; the server's while the method ran.
      busy_ms: that the edge's network and image tests ran, per answered frame, whoever answered it.
      energy_j: of the edge per frame, modelled from its latency and that; NaN where answers may be moved results, which
        take less time than the edge is at work for them.
      metered_j: energy per answered frame of the machine that both ends are on; NaN without a meter.
    """

    frames: int
    unanswered: int
    fps: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    parts_ms: Mapping[str, float]
    edge_ms: float
    cloud_ms: float
    tx: float
    kb: float
    compute: float
    cloud: float
    hedged: float
    refreshed: float
    wasted: float
    accuracy: float | None
    dense_accuracy: float | None
    age_ms: float
    missed: float
    edge_mib: float
    server_mib: float
    busy_ms: float
    energy_j: float
    metered_j: float

    @property
    def loss(self) -> float | None:
        """Of accuracy, relative to the dense network on the same frames."""
        return loss_of(self.accuracy, self.dense_accuracy)

    def as_values(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {**dataclasses.asdict(self), "loss": self.loss}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A run and its figures."""

    run: LiveRun
    figures: LiveFigures


def live_figures(
    run: LiveRun, accuracy: Sequence[Floats], dense: Sequence[Floats], raw_bytes: int, energy: EnergyModel
) -> LiveFigures:
    """Figures of a run.

    Args:
      run: of a method.
      accuracy: of every counted frame, by clip; NaN where it was not answered or cannot be compared.
      dense: the dense network's on the same frames.
      raw_bytes: of one image.
      energy: of the edge.
    """
    names = [name for name in COLUMNS if name != "busy_ms" or counts_busy(run)]
    joined = {name: np.concatenate([one.columns[name] for one in run.answers]) for name in names}
    there = joined["answered"] > 0
    latency = joined["latency_ms"][there]
    p50, p95, p99, p999 = (float(one) for one in np.quantile(latency, (0.5, 0.95, 0.99, 0.999)))
    sent, cloud = joined["sent_bytes"], joined["cloud"][there] > 0
    watched_ms = sum(one.watched_ms for one in run.answers)
    captured = sum(float(np.ptp(one.columns["captured"])) + 1 for one in run.answers)
    ages = [_age(one) for one in run.answers]
    known = np.isfinite(np.concatenate(accuracy)) & there
    server_mib = run.facts.get("server_mib")
    answered = float(there.sum())
    busy_ms = float(_busy_ms(run.method, joined).sum()) / answered
    makes_up = run.method.within_ms is None  # moved results take no time of their own frame's parts
    return LiveFigures(
        frames=int(there.sum()), unanswered=int((~there).sum()), fps=1e3 * answered / watched_ms,
        mean_ms=float(latency.mean()), p50_ms=p50, p95_ms=p95, p99_ms=p99, p999_ms=p999, max_ms=float(latency.max()),
        parts_ms={part: _mean(joined[part][there]) if makes_up else float("nan") for part in PARTS},
        edge_ms=_mean(latency[~cloud]), cloud_ms=_mean(latency[cloud]),
        tx=float(sent.sum()) / (raw_bytes * answered), kb=float(sent.sum()) / answered / 1e3,
        compute=float(joined["compute"][there].mean()), cloud=float(cloud.mean()),
        hedged=float(joined["hedged"][there].mean()), refreshed=float(joined["refreshed"][there].mean()),
        wasted=float(sent[joined["cloud"] == 0].sum() / sent.sum()) if sent.sum() else 0.0,
        accuracy=_mean_or_none(np.concatenate(accuracy)[known]),
        dense_accuracy=_mean_or_none(np.concatenate(dense)[known]),
        age_ms=sum(area for area, _ in ages) / max(1e-9, sum(time for _, time in ages)),
        missed=1 - len(there) / captured, edge_mib=float(run.facts["peak_mib"]),
        server_mib=float("nan") if server_mib is None else float(server_mib),
        busy_ms=busy_ms, energy_j=energy.joules(float(latency.mean()), busy_ms) if makes_up else float("nan"),
        metered_j=sum(one.metered_mj for one in run.answers) / 1e3 / answered,
    )  # fmt: skip


def counts_busy(run: LiveRun) -> bool:
    """Whether the edge itself has counted how long it computes; older runs have not."""
    return all("busy_ms" in one.columns for one in run.answers)


def _busy_ms(method: LiveMethod, joined: Mapping[str, Floats]) -> Floats:
    """How long the edge computed for each frame.

    Of runs that have not counted it, it is what is known: the network where the edge answered, and all that came before
    a frame was placed where the edge has image tests. That has its encoding in it, and not the network of frames that
    the server answered first.
    """
    if "busy_ms" in joined:
        return joined["busy_ms"]
    tests = method.place == "both" and method.reuse != "whole"
    own: Floats = np.where(joined["cloud"] > 0, 0.0, joined["network_ms"])
    return own + joined["before_ms"] if tests else own


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _mean_or_none(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _age(answers: Answers) -> tuple[float, float]:
    """See `age_area`; of frames that were answered."""
    there = answers.columns["answered"] > 0
    done = answers.columns["start_ms"] + answers.columns["latency_ms"]
    return age_area(done[there], answers.columns["captured_ms"][there])
