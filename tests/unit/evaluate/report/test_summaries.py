"""Summaries and frontiers against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from fluxshard.errors import EvaluationError, OptionError
from fluxshard.evaluate.metrics.statistics import bootstrap_interval, loss_interval
from fluxshard.evaluate.report import summaries
from fluxshard.evaluate.report.summaries import frontier, summary_rows
from fluxshard.evaluate.report.tables import markdown_table
from tests.unit.evaluate.report.scores import clip_scores, settings, two_methods


def row_of(rows, method):
    return next(row for row in rows if row.method == method)


def test_a_row_by_hand():
    dense, ours = summary_rows(two_methods())
    assert (dense.method, ours.method) == ("dense", "ours")
    assert (ours.family, ours.label, ours.parameter, ours.reference) == ("planned", "ours", "1%", "annotation J")
    assert ours.clips == ("a", "b", "c")
    assert ours.compute == pytest.approx(0.4)
    assert ours.value == pytest.approx(1.14 / 3)
    assert ours.loss == pytest.approx(1 - 1.14 / 1.2)
    # 1 - 0.36 / 0.4 is more than 1 - 0.76 / 0.8; clip c has nothing to lose a share of
    assert (ours.worst_clip, ours.worst_loss) == ("b", pytest.approx(0.1))
    assert (ours.miou, ours.f1, ours.ap) == (pytest.approx(0.85), pytest.approx(0.7), pytest.approx(0.6))
    assert ours.oks is None
    # 0, 2, 2, 4, 10: the 90th percentile lies at 0.9 * 4 = 3.6, between 4 and 10
    assert (ours.discovery_median, ours.discovery_p90) == (2, pytest.approx(4 + 0.6 * 6))
    assert ours.discoveries == 5
    # not (5 + 20) / (20 + 40), and clip c has no latency
    assert ours.latency_ratio == pytest.approx((5 / 20 + 20 / 40) / 2)
    assert ours.drift == pytest.approx(0.01)
    assert (dense.loss, dense.latency_ratio) == (pytest.approx(0), 1)
    assert (dense.worst_clip, dense.worst_loss, dense.discovery_median) == (None, None, None)


def test_intervals_are_over_clips_and_of_pairs(monkeypatch):
    seen = []
    monkeypatch.setattr(summaries, "bootstrap_interval", lambda *values: seen.append(values) or (0.1, 0.2))
    monkeypatch.setattr(summaries, "loss_interval", lambda *values: seen.append(values) or (-0.1, 0.3))
    ours = row_of(summary_rows(two_methods()), "ours")
    assert (ours.compute_interval, ours.loss_interval) == ((0.1, 0.2), (-0.1, 0.3))
    assert seen[-2:] == [([0.2, 0.4, 0.6],), ([0.76, 0.36, 0.02], [0.8, 0.4, 0.0])]


def test_intervals_are_those_of_the_bootstrap():
    ours = row_of(summary_rows([entry for entry in two_methods() if entry.clip != "c"]), "ours")
    assert ours.compute_interval == pytest.approx(bootstrap_interval([0.2, 0.4]))
    assert ours.loss_interval == pytest.approx(loss_interval([0.76, 0.36], [0.8, 0.4]))
    # with two clips, each is drawn twice in a quarter of the draws
    assert ours.compute_interval == pytest.approx((0.2, 0.4))
    assert ours.loss_interval == pytest.approx((0.05, 0.1))


def test_an_interval_that_is_not_a_number_is_none(monkeypatch):
    monkeypatch.setattr(summaries, "loss_interval", lambda method, dense: (math.nan, 0.3))
    assert row_of(summary_rows(two_methods()), "ours").loss_interval is None


def test_one_clip_has_no_interval():
    scores = [entry for entry in two_methods() if entry.clip == "a"]
    ours = row_of(summary_rows(scores), "ours")
    assert (ours.compute_interval, ours.loss_interval) == (None, None)
    assert ours.loss == pytest.approx(0.05)


def test_only_clips_in_common_are_compared():
    scores = [entry for entry in two_methods() if (entry.method, entry.clip) != ("dense", "b")]
    dense, ours = summary_rows(scores)
    assert ours.clips == ("a", "c")
    assert ours.compute == pytest.approx(0.4)
    assert ours.loss == pytest.approx(1 - 0.78 / 0.8)
    assert "same clips: compare losses" not in markdown_table([dense, ours])
    fewer = [entry for entry in two_methods() if (entry.method, entry.clip) != ("ours", "b")]
    assert "same clips: compare losses" in markdown_table(summary_rows(fewer))


def test_clips_without_the_measure_are_left_out_of_it_alone():
    scores = [*two_methods(), clip_scores("d", "dense", jaccard=None), clip_scores("d", "ours", jaccard=None)]
    ours = row_of(summary_rows(scores), "ours")
    assert ours.compute == pytest.approx((0.2 + 0.4 + 0.6 + 0.5) / 4)
    assert ours.loss == pytest.approx(1 - 1.14 / 1.2)


def test_without_the_measure_nothing_is_lost_or_kept():
    scores = [clip_scores("a", method, jaccard=None) for method in ("dense", "ours")]
    ours = row_of(summary_rows(scores), "ours")
    assert (ours.value, ours.loss, ours.loss_interval, ours.worst_clip) == (None, None, None, None)
    nothing = [clip_scores("a", "dense", jaccard=0.0), clip_scores("a", "ours", jaccard=0.5)]
    assert row_of(summary_rows(nothing), "ours").loss is None


@pytest.mark.parametrize(
    ("method", "facts", "expected"),
    [
        ("planned@1%", {"family": "planned", "parameter": "one"}, ("planned", "one")),
        ("planned@1%", {"family": "planned"}, ("planned", "1%")),
        ("delta tau=0.05", {"family": "delta"}, ("delta", "tau=0.05")),
        ("other", {"family": "planned"}, ("planned", "")),
        ("planned", {"family": "planned"}, ("planned", "")),
        ("alone", {}, ("alone", "")),
    ],
)
def test_what_tells_methods_of_a_family_apart(method, facts, expected):
    scores = [clip_scores("a", "dense"), clip_scores("a", method, facts=facts)]
    row = summary_rows(scores)[1]
    assert (row.family, row.parameter) == expected


def test_other_measures_and_other_names_of_the_dense_method():
    scores = [
        clip_scores("a", "whole", f1=1.0, jaccard=0.5),
        clip_scores("a", "ours", f1=0.75, jaccard=0.5),
    ]
    ours = row_of(summary_rows(scores, "whole", "f1"), "ours")
    assert (ours.dense, ours.measure, ours.value, ours.loss) == ("whole", "f1", 0.75, pytest.approx(0.25))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "there are no scores"),
        ([clip_scores("a", "ours")], r"no scores of 'dense'; there are 'ours'"),
        ([clip_scores("a", "dense"), clip_scores("a", "dense")], "two scores of 'dense' on clip 'a'"),
        ([clip_scores("a", "dense"), clip_scores("b", "ours")], "'ours' has no clip in common with 'dense'"),
    ],
)
def test_scores_that_cannot_be_compared(scores, message):
    with pytest.raises(EvaluationError, match=message):
        summary_rows(scores)


def test_an_unknown_measure():
    with pytest.raises(OptionError, match="no measure 'mAP'; take one of jaccard, mean_jaccard"):
        summary_rows(two_methods(), measure="mAP")


def test_the_frontier_takes_the_least_compute_within_the_loss():
    rows = summary_rows(settings((0.9, 1.0), (0.5, 0.97), (0.7, 0.98), (0.1, 0.5)))
    found = frontier(rows, "planned", (0.0, 0.02, 0.03, 0.5))
    assert [found[loss].parameter for loss in (0.0, 0.02, 0.03, 0.5)] == ["p0", "p2", "p1", "p3"]
    assert found[0.03].compute == 0.5


def test_a_frontier_without_a_fitting_setting():
    rows = summary_rows(settings((0.5, 0.97), (0.2, 0.9)))
    assert frontier(rows, "planned", (0.01, 0.05)) == {0.01: None, 0.05: rows[1]}


def test_equal_compute_is_decided_by_the_loss_and_gains_count():
    rows = summary_rows(settings((0.5, 0.98), (0.5, 1.02)))
    assert frontier(rows, "planned", (0.03,))[0.03].parameter == "p1"


def test_settings_without_the_measure_are_no_candidates():
    rows = summary_rows(
        [*settings((0.5, 0.99)), clip_scores("a", "x", jaccard=None, compute=0.1, facts={"family": "planned"})]
    )
    assert frontier(rows, "planned", (0.05,))[0.05].method == "planned-0"


def test_a_family_that_is_not_there():
    with pytest.raises(EvaluationError, match="no method is of family 'other'; there are 'dense', 'planned'"):
        frontier(summary_rows(settings((0.5, 0.9))), "other")
