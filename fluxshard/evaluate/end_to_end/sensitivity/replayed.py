"""Replays of all rows: every calibrated method on the clips that it was not calibrated on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.content.gathering import Gathered, Gathering
from fluxshard.evaluate.end_to_end.content.material import Material, work_slope
from fluxshard.evaluate.end_to_end.entrants import entrant
from fluxshard.evaluate.end_to_end.figures import MethodFigures, as_values, method_figures
from fluxshard.evaluate.end_to_end.paper import PaperFigures
from fluxshard.evaluate.end_to_end.records import StreamRecord
from fluxshard.evaluate.end_to_end.replays import LinkTask, ReplayOptions, scenario_of, turned
from fluxshard.evaluate.end_to_end.sensitivity.calibrated import CalibratedOn, profiles
from fluxshard.evaluate.end_to_end.sensitivity.configurations import Configuration
from fluxshard.evaluate.end_to_end.settings import Role
from fluxshard.evaluate.methods.method_sets import NamedThresholdProfile, method_of_threshold_profile
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.replay import replay
from fluxshard.runtime.threshold_profile import ThresholdProfile

PAPERS_TIER = "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityRow:
    """A row of the table.

    Attributes:
      configuration: how its thresholds are calibrated.
      tier: of the links.
      figures: of the replay.
      paper: what the paper reports of it.
      searched_loss, searched_compute: of the thresholds on the clips that they are calibrated on; the loss is what the
        search bounds, see `Objective.retained`.
    """

    configuration: Configuration
    tier: str
    figures: MethodFigures
    paper: PaperFigures
    searched_loss: float
    searched_compute: float

    def as_values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **asdict(self.configuration), "tier": self.tier, "searched_loss": self.searched_loss,
            "searched_compute": self.searched_compute, **as_values(self.figures),
        }  # fmt: skip


def tier_of(links: Mapping[str, Sequence[LinkTrace]]) -> str:
    """The paper's tier, or the first where that is not replayed."""
    return PAPERS_TIER if PAPERS_TIER in links else next(iter(links))


def sensitivity_rows(
    on: CalibratedOn,
    gathering: Gathering,
    clips: Sequence[Clip],
    gathered: Gathered,
    links: Mapping[str, Sequence[LinkTrace]],
    options: ReplayOptions,
) -> tuple[SensitivityRow, ...]:
    """Calibrates what is missing, and replays all rows.

    Args:
      on: how rows are calibrated.
      gathering: of the evaluation.
      clips: that are replayed.
      gathered: of these clips.
      links: by tier.
      options: of the replays.

    Raises:
      EvaluationError, ProfileError: as `profiles` and `Gathering.gather`.
    """
    tier = tier_of(links)
    calibrated = profiles(
        on, gathering.setup, gathering.out, workers=gathering.workers, on_frames=gathering.on_frames,
        tell=gathering.tell,
    )  # fmt: skip
    others = [
        (
            entrant(configuration.entrant).role,
            method_of_threshold_profile(NamedThresholdProfile(configuration.label, profile)),
        )
        for configuration, profile in calibrated.items()
    ]
    played = gathering.with_methods(clips, gathered, others)
    return tuple(
        row_of(configuration, profile, materials, tier, links[tier], options)
        for (configuration, profile), materials in zip(calibrated.items(), played, strict=True)
    )


def row_of(
    configuration: Configuration,
    profile: ThresholdProfile,
    materials: Sequence[Material],
    tier: str,
    links: Sequence[LinkTrace],
    options: ReplayOptions,
) -> SensitivityRow:
    """A row from materials in which the calibrated method has its role."""
    one = entrant(configuration.entrant)
    assert one.strategy is not None
    # planned reuse predicts its work, propagated reuse counts pixels
    slopes: dict[Role, float] = {one.role: work_slope(materials, one.role)} if one.role == "propagated" else {}
    streams = []
    for number, link in enumerate(links):
        task = LinkTask(
            tier=tier, number=number, link=link, materials=turned(materials, number), slopes=slopes, options=options
        )
        stream = StreamRecord.of(replay(scenario_of(task, one), one.strategy, one.rules))
        streams.append((stream, task.materials[0]))
    facts = profile.facts
    return SensitivityRow(
        configuration=configuration,
        tier=tier,
        figures=method_figures(streams, one, options),
        paper=configuration.paper(options.workload.name),
        searched_loss=1 - float(facts.get("accuracy_kept", math.nan)),
        searched_compute=float(facts.get("compute_ratio", math.nan)),
    )
