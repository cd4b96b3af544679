"""Scores by method and clip, and the names of methods."""

from __future__ import annotations

import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.report.grouping import by_method, family_of, label_of, parameter_of, score_of, scores_of
from tests.unit.evaluate.report.scores import clip_scores

SCORES = [clip_scores("b", "m"), clip_scores("a", "n"), clip_scores("a", "m")]


def test_scores_are_grouped_in_order_of_appearance() -> None:
    grouped = by_method(SCORES)
    assert {method: list(clips) for method, clips in grouped.items()} == {"m": ["b", "a"], "n": ["a"]}
    assert list(grouped) == ["m", "n"]
    assert score_of(grouped, "m", "a") is SCORES[2] and scores_of(grouped, "n") == {"a": SCORES[1]}


def test_what_was_not_evaluated_is_named() -> None:
    grouped = by_method(SCORES)
    with pytest.raises(EvaluationError, match="no scores of 'x'; there are 'm', 'n'"):
        scores_of(grouped, "x")
    with pytest.raises(EvaluationError, match="'n' has no scores on clip 'b'; it has 'a'"):
        score_of(grouped, "n", "b")
    with pytest.raises(EvaluationError, match="there are no scores to report"):
        by_method([])
    with pytest.raises(EvaluationError, match="two scores of 'm' on clip 'b'"):
        by_method([*SCORES, clip_scores("b", "m")])


def test_names_come_from_facts_and_otherwise_from_the_method() -> None:
    plain = clip_scores("a", "planned@1%")
    assert (family_of(plain), parameter_of(plain), label_of(plain)) == ("planned@1%", "", "planned@1%")
    member = clip_scores("a", "planned@1%", facts={"family": "planned", "label": "ours"})
    assert (family_of(member), parameter_of(member), label_of(member)) == ("planned", "1%", "ours")
    stated = clip_scores("a", "planned@1%", facts={"family": "other", "parameter": 3})
    assert (family_of(stated), parameter_of(stated)) == ("other", "3")
    assert parameter_of(clip_scores("a", "planned@1%", facts={"family": "other"})) == ""
