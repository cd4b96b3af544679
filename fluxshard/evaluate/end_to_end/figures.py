"""Figures of a method on a tier, from its replayed streams and from how well it answers each frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.end_to_end.common_figures import age_area, loss_of
from fluxshard.evaluate.end_to_end.content.material import Material
from fluxshard.evaluate.end_to_end.entrants import Entrant
from fluxshard.evaluate.end_to_end.records import PARTS, StreamRecord
from fluxshard.evaluate.end_to_end.replays import PERIOD_MS, ReplayOptions
from fluxshard.evaluate.offload.content.recorded_content import loop_start

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFigures:
    """Frames that one endpoint answered; NaN where there are none.

    Attributes:
      share: of all frames, 0..1.
      latency_ms: mean.
      compute_ms: mean time of the endpoint itself.
      work: mean share of the dense network's work.
    """

    share: float
    latency_ms: float
    compute_ms: float
    work: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFigures:
    """Of all streams of a method on a tier. Every answered frame counts the same, but for the age.

    Attributes:
      frames: answered.
      fps: answered per second.
      mean_ms, sd_ms, p50_ms, p95_ms, p99_ms, p999_ms, max_ms: of latency.
      parts_ms: means of its parts, by name of `Parts`.
      tx: bytes that went up over those of the answered frames' raw images.
      kb: kilobytes that went up per answered frame.
      compute: mean share of the dense network's work that answered frames took.
      cloud, hedged, repeated: shares of frames.
      accuracy: mean over answered frames of the method's accuracy on that frame, as measured where it ran on every
        frame of the clip; None where nothing can be compared.
      dense_accuracy: the dense network's on the same frames.
      energy_j: of the edge per frame, modelled.
      spare: share of bytes that went up for frames that the edge answered.
      spare_j: energy per frame of the edge for frames that the cloud answered first, modelled.
      age_ms: mean over time of how long ago the newest answered frame was captured.
      edge, cloud_path: frames by who answered, repeated results left out.
    """

    frames: int
    fps: float
    mean_ms: float
    sd_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    parts_ms: Mapping[str, float]
    tx: float
    kb: float
    compute: float
    cloud: float
    hedged: float
    repeated: float
    accuracy: float | None
    dense_accuracy: float | None
    energy_j: float
    spare: float
    spare_j: float
    age_ms: float
    edge: PathFigures
    cloud_path: PathFigures

    @property
    def loss(self) -> float | None:
        """Of accuracy, relative to the dense network on the same frames."""
        return loss_of(self.accuracy, self.dense_accuracy)


Stream = tuple[StreamRecord, Material]


def method_figures(streams: Sequence[Stream], one: Entrant, options: ReplayOptions) -> MethodFigures:
    """Figures of a method.

    Args:
      streams: of one tier, each with its clip.
      one: the method.
      options: of the replays.
    """
    joined = {
        name: np.concatenate([getattr(record, name) for record, _ in streams])
        for name in ("latency_ms", "cloud", "hedged", "repeated", "work", "busy_ms", "parts")
    }
    latency, cloud, repeated = joined["latency_ms"], joined["cloud"], joined["repeated"]
    p50, p95, p99, p999 = (float(one) for one in np.quantile(latency, (0.5, 0.95, 0.99, 0.999)))
    sent = sum(float(record.totals[0]) for record, _ in streams)
    raw = sum(material.raw_bytes * len(record.frame) for record, material in streams)
    ages = [_age(record) for record, _ in streams]
    watched = sum(time for _, time in ages)
    energy = options.workload.energy
    busy = joined["busy_ms"] + (options.pre_ms if one.plans else 0.0)
    wasted = np.where(cloud > 0, joined["busy_ms"], 0.0)
    accuracy, dense = _accuracy(streams, one)
    return MethodFigures(
        frames=len(latency), fps=1e3 * len(latency) / watched if watched else float("nan"),
        mean_ms=float(latency.mean()), sd_ms=float(latency.std()), p50_ms=p50, p95_ms=p95, p99_ms=p99, p999_ms=p999,
        max_ms=float(latency.max()), parts_ms=dict(zip(PARTS, joined["parts"].mean(0).tolist(), strict=True)),
        tx=sent / raw, kb=sent / len(latency) / 1e3, compute=float(joined["work"].mean()), cloud=float(cloud.mean()),
        hedged=float(joined["hedged"].mean()), repeated=float(repeated.mean()), accuracy=accuracy,
        dense_accuracy=dense, energy_j=energy.joules(float(latency.mean()), float(busy.mean())),
        spare=sum(float(record.totals[1]) for record, _ in streams) / sent if sent else 0.0,
        spare_j=energy.busy_w * float(wasted.mean()) / 1e3,
        age_ms=sum(area for area, _ in ages) / watched if watched else float("nan"),
        edge=_path(joined, (cloud == 0) & (repeated == 0), "edge_ms"), cloud_path=_path(joined, cloud > 0, "server_ms"),
    )  # fmt: skip


def _path(joined: Mapping[str, Floats], chosen: NDArray[np.bool_], part: str) -> PathFigures:
    if not chosen.any():
        return PathFigures(share=0.0, latency_ms=float("nan"), compute_ms=float("nan"), work=float("nan"))
    return PathFigures(
        share=float(chosen.mean()), latency_ms=float(joined["latency_ms"][chosen].mean()),
        compute_ms=float(joined["parts"][chosen, PARTS.index(part)].mean()), work=float(joined["work"][chosen].mean()),
    )  # fmt: skip


def clip_frames(record: StreamRecord, material: Material) -> NDArray[np.int64]:
    """Numbers within the clip of a stream's answered frames: the clip starts over, see `ReplayedContent`."""
    return _clip_numbers(record.frame.astype(np.int64), material)


def _clip_numbers(frames: NDArray[np.int64], material: Material) -> NDArray[np.int64]:
    recorded = material.recordings["planned"]
    first = loop_start(recorded)
    return first + frames % (len(recorded.packet_bytes) - first)


def _accuracy(streams: Sequence[Stream], one: Entrant) -> tuple[float | None, float | None]:
    """Means over answered frames: of the method, and of the dense network."""
    own, dense = [], []
    for record, material in streams:
        numbers = clip_frames(record, material)
        own.append(material.answers[one.role].accuracy[numbers])
        dense.append(material.answers["dense"].accuracy[numbers])
    return _mean(np.concatenate(own)), _mean(np.concatenate(dense))


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _age(record: StreamRecord) -> tuple[float, float]:
    """See `age_area`."""
    return age_area(record.start_ms + record.latency_ms, record.frame * PERIOD_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnytimeFigures:
    """Every captured frame, answered in time with the freshest result, moved to now.

    Attributes:
      frames: answered; all that were captured after the first result.
      deadline_ms: latency of every one of them.
      accuracy, dense_accuracy: means over frames.
      age: mean age of the result that was moved, in frames.
    """

    frames: int
    deadline_ms: float
    accuracy: float | None
    dense_accuracy: float | None
    age: float

    @property
    def loss(self) -> float | None:
        """Of accuracy, relative to the dense network on the same frames."""
        return loss_of(self.accuracy, self.dense_accuracy)


def anytime_figures(streams: Sequence[Stream], deadline_ms: float) -> AnytimeFigures:
    """What is answered by a deadline while a stream's results come in.

    Args:
      streams: of one tier, each with its clip; their results are moved.
      deadline_ms: after a frame was captured.
    """
    moved, dense, ages = [], [], []
    for record, material in streams:
        done = record.start_ms + record.latency_ms
        order = np.argsort(done, kind="stable")
        newest = np.maximum.accumulate(record.frame[order])
        # frames that are captured between the first answer and the last
        captured = np.arange(*(int(np.ceil(one / PERIOD_MS - 1e-9)) for one in (done[0], done[-1])))
        ended = np.searchsorted(done[order], captured * PERIOD_MS + deadline_ms, side="right") - 1
        age = captured - newest[ended].astype(np.int64)
        numbers = _clip_numbers(captured, material)
        moved.append(_moved(material, numbers, age))
        dense.append(material.answers["dense"].accuracy[numbers])
        ages.append(age)
    return AnytimeFigures(
        frames=sum(map(len, ages)), deadline_ms=deadline_ms, accuracy=_mean(np.concatenate(moved)),
        dense_accuracy=_mean(np.concatenate(dense)), age=float(np.concatenate(ages).mean()),
    )  # fmt: skip


def _moved(material: Material, numbers: NDArray[np.int64], age: NDArray[np.int64]) -> Floats:
    """Accuracy of moved results: of the nearest ages that were measured, interpolated; older ones as the oldest."""
    known = np.array(sorted(material.moved))
    table = np.stack([material.answers["planned"].accuracy, *(material.moved[int(one)] for one in known)])
    at = np.interp(age, np.array([0, *known]), np.arange(len(known) + 1))
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, len(known))
    share = at - low
    below, above = table[low, numbers], table[high, numbers]
    mixed: Floats = np.where(share == 0, below, (1 - share) * below + share * above)
    return mixed


def as_values(figures: MethodFigures | AnytimeFigures) -> dict[str, object]:
    """Plain values, for JSON."""
    return {**dataclasses.asdict(figures), "loss": figures.loss}
