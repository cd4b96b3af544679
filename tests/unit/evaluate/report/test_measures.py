"""Measures of accuracy: each is an attribute of the scores that it is read from."""

from __future__ import annotations

from dataclasses import fields

import pytest

from fluxshard.errors import OptionError
from fluxshard.evaluate.metrics.clip_scores import ClipScores, FrameScores
from fluxshard.evaluate.report.measures import MEASURES, ReportMeasure, measure_named
from tests.unit.evaluate.report.scores import clip_scores, frame_scores


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_values_are_those_of_the_scores(measure: ReportMeasure) -> None:
    assert measure.name in {field.name for field in fields(ClipScores)}
    assert measure.per_frame == (measure.name in {field.name for field in fields(FrameScores)})
    values = dict.fromkeys(("miou", "oks", "f1", "teacher", "ap"), 0.25) | {"jaccard": 0.25, "mean_jaccard": 0.25}
    per_frame = {name: value for name, value in values.items() if name != "ap"}
    scores = clip_scores("a", "m", frames=[frame_scores(), frame_scores(**per_frame)], **values)
    assert measure.of_clip(scores) == 0.25
    assert measure.of_frames(scores) == [None, 0.25 if measure.per_frame else None]


def test_measures_are_found_by_name() -> None:
    assert [measure_named(measure.name) for measure in MEASURES] == list(MEASURES)
    assert len({measure.symbol for measure in MEASURES}) == len(MEASURES)
    with pytest.raises(
        OptionError, match="no measure 'map'; take one of jaccard, mean_jaccard, miou, oks, f1, teacher, ap"
    ):
        measure_named("map")
