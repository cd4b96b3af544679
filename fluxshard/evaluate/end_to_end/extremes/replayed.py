"""Replays of the clips of the ends of motion, one by one; and what happens after a cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.end_to_end.common_figures import loss_of
from fluxshard.evaluate.end_to_end.content.material import Answers, Material, content_of
from fluxshard.evaluate.end_to_end.entrants import Entrant, taking_part
from fluxshard.evaluate.end_to_end.extremes.clips import Extreme
from fluxshard.evaluate.end_to_end.figures import MethodFigures, as_values, method_figures
from fluxshard.evaluate.end_to_end.records import StreamRecord
from fluxshard.evaluate.end_to_end.replays import PERIOD_MS, LinkTask, ReplayOptions, scenario_of
from fluxshard.evaluate.end_to_end.settings import Role
from fluxshard.evaluate.offload.content.content import upload_bytes
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.replay import replay

LOST_FRAMES = 3  # after a cut, whose loss is told

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterCut:
    """What a method does on a cut; means over all cuts of all streams.

    Attributes:
      cuts: that an answer followed before the clip started over.
      answer_ms: from when the new scene was first captured until the first answer that was computed of a frame of it.
      worst_ms: the largest of these.
      work: of that frame, as a share of the dense network's.
      kb: that go up for the first frame of the new scene, where the server has the one before; None for an edge alone.
      loss: of the `LOST_FRAMES` first frames of the new scene, where the method ran on all frames; None where there is
        nothing to compare.
    """

    cuts: int
    answer_ms: float
    worst_ms: float
    work: float
    kb: float | None
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtremeFigures:
    """A method on one of the clips.

    Attributes:
      clip: what was made.
      method: name of the entrant.
      tier: of the links.
      figures: of the replay.
      after: the cut, where the clip has one.
    """

    clip: Extreme
    method: str
    tier: str
    figures: MethodFigures
    after: AfterCut | None

    def as_values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "clip": self.clip.clip.name, "made_of": list(self.clip.made_of), "cut": self.clip.cut,
            "method": self.method, "tier": self.tier, **as_values(self.figures),
            "after_cut": None if self.after is None else asdict(self.after),
        }  # fmt: skip


def extreme_figures(
    clip: Extreme,
    material: Material,
    tier: str,
    links: Sequence[LinkTrace],
    options: ReplayOptions,
    slopes: Mapping[Role, float],
) -> tuple[ExtremeFigures, ...]:
    """All methods but ablations and oracles on one clip.

    Args:
      clip: what was made.
      material: of it.
      tier: of the links.
      links: of the tier.
      options: of the replays.
      slopes: of `work_slope`, by role.
    """
    tasks = [
        LinkTask(tier=tier, number=number, link=link, materials=(material,), slopes=slopes, options=options)
        for number, link in enumerate(links)
    ]
    found = []
    for one in taking_part(ablated=False):
        if one.kind not in ("baseline", "FluxShard") or one.strategy is None:
            continue
        streams = [StreamRecord.of(replay(scenario_of(task, one), one.strategy, one.rules)) for task in tasks]
        found.append(
            ExtremeFigures(
                clip=clip, method=one.name, tier=tier,
                figures=method_figures([(stream, material) for stream in streams], one, options),
                after=None if clip.cut is None else after_cut(streams, material, one, clip.cut, slopes),
            )
        )  # fmt: skip
    return tuple(found)


def after_cut(
    streams: Sequence[StreamRecord], material: Material, one: Entrant, cut: int, slopes: Mapping[Role, float]
) -> AfterCut:
    """What a method does on a cut.

    Args:
      streams: of the method, all of this clip.
      material: the clip.
      one: the method.
      cut: number of the first frame of the new scene, in the clip.
      slopes: of `work_slope`, by role.
    """
    content = content_of(material, one, slopes.get(one.role, 0.0))
    at = cut - content.first  # within the part of the clip that is replayed
    waits, work = [], []
    for stream in streams:
        for shown in range(at, int(stream.frame.max()) + 1, content.frames):
            inside = (stream.frame >= shown) & (stream.frame < shown + content.frames - at) & (stream.repeated == 0)
            if not inside.any():
                continue  # the clip has started over, back in the old scene
            first = np.flatnonzero(inside)[np.argmin((stream.start_ms + stream.latency_ms)[inside])]
            waits.append(float(stream.start_ms[first] + stream.latency_ms[first] - shown * PERIOD_MS))
            work.append(float(stream.work[first]))
    kb = None if one.strategy == "edge" else upload_bytes(content, at - 1, at - 1, at) / 1e3
    rows = slice(cut, cut + LOST_FRAMES)
    return AfterCut(
        cuts=len(waits),
        answer_ms=float(np.mean(waits)) if waits else float("nan"),
        worst_ms=max(waits, default=float("nan")),
        work=float(np.mean(work)) if work else float("nan"),
        kb=kb,
        loss=_loss(material.answers[one.role], material.answers["dense"], rows),
    )


def _loss(own: Answers, dense: Answers, rows: slice) -> float | None:
    values = own.accuracy[rows], dense.accuracy[rows]
    known = np.isfinite(values[0]) & np.isfinite(values[1])
    return loss_of(float(values[0][known].mean()), float(values[1][known].mean())) if known.any() else None
