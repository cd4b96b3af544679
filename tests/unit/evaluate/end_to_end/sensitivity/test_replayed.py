"""Rows from profiles: what a calibrated method does is replayed, with the search's figures beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end.content.material import Answers, Material
from fluxshard.evaluate.end_to_end.entrants import PAPERS, PLANNED_RAW
from fluxshard.evaluate.end_to_end.sensitivity.configurations import Configuration
from fluxshard.evaluate.end_to_end.sensitivity.replayed import SensitivityRow, row_of, tier_of
from fluxshard.evaluate.end_to_end.settings import Role
from fluxshard.options import ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile
from tests.unit.evaluate.end_to_end.materials import FADING, FAST, material, options

PROFILE = ThresholdProfile(
    reuse=ReuseOptions(), canvas_px=0, network="n", weights="w", facts={"accuracy_kept": 0.98, "compute_ratio": 0.4}
)


def played(role: Role, compute: float, loss: float) -> Material:
    """A clip on which the method of a role does a share of the work, and loses accuracy."""
    clip = material()
    accuracy = clip.answers["dense"].accuracy
    answers = Answers(compute=np.full_like(accuracy, compute), accuracy=accuracy * (1 - loss))
    return replace(clip, answers={**clip.answers, role: answers})


def row(configuration: Configuration, clip: Material) -> SensitivityRow:
    return row_of(configuration, PROFILE, [clip], "medium", [FAST, FAST], options())


def test_a_row_of_the_papers() -> None:
    configuration = Configuration(entrant=PAPERS, budget=0.03, split=0.67)
    made = row(configuration, played("propagated", 0.4, 0.02))
    frames = made.figures.frames  # of two streams, each of which begins with a whole frame
    assert made.figures.compute == pytest.approx((0.4 * (frames - 2) + 2) / frames)
    assert made.figures.loss == pytest.approx(0.02) and made.paper.latency_ms == 74.8
    assert made.searched_loss == pytest.approx(0.02) and made.searched_compute == 0.4
    more = row(configuration, played("propagated", 0.9, 0.02))
    assert more.figures.mean_ms - made.figures.mean_ms == pytest.approx(24.6 * 0.5 * (frames - 2) / frames, abs=0.1)
    values: dict[str, Any] = made.as_values()
    assert (values["budget"], values["split"], values["tier"]) == (0.03, 0.67, "medium")


def test_planned_reuse_does_the_work_that_was_recorded() -> None:
    made = row(Configuration(entrant=PLANNED_RAW, budget=0.05), played("planned", 0.9, 0.04))
    assert made.figures.compute < 0.25, "a tenth per frame of the cache's age, as recorded"
    assert made.figures.loss == pytest.approx(0.04) and made.paper.latency_ms is None


def test_the_papers_tier_is_taken_where_there_is_one() -> None:
    assert tier_of({"low": [FADING], "medium": [FAST]}) == "medium"
    assert tier_of({"low": [FADING], "high": [FAST]}) == "low"
