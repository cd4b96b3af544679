"""Tables against numbers worked out by hand."""

from __future__ import annotations

import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.report import summaries
from fluxshard.evaluate.report.summaries import summary_rows
from fluxshard.evaluate.report.tables import frontier_table, markdown_table, per_clip_table
from tests.unit.evaluate.report.scores import clip_scores, evaluation, frame_scores, settings, two_methods


def cells_of(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return table[0], table[2:]


def test_the_frontier_table():
    scores = [*settings((0.9, 0.995), (0.456, 0.96)), *settings((0.7, 0.9), family="other")[1:]]
    headings, rows = cells_of(frontier_table(summary_rows(scores), (0.01, 0.05)).markdown())
    assert headings == ["family", "settings", "loss ≤ 1%", "loss ≤ 5%"]
    assert rows == [["planned", "2", "90.0% (p0)", "45.6% (p1)"], ["other", "1", "—", "—"]]


def test_the_markdown_table_by_hand(monkeypatch):
    monkeypatch.setattr(summaries, "bootstrap_interval", lambda values: (0.1, 0.7))
    monkeypatch.setattr(summaries, "loss_interval", lambda method, dense: (-0.004, 0.08))
    text = markdown_table(summary_rows(two_methods()))
    headings, rows = cells_of(text)
    assert dict(zip(headings, rows[1], strict=True)) == {
        "method": "ours",
        "clips": "3",
        "compute": "40.0% [10.0, 70.0]",
        "J": "0.380",
        "loss": "5.00% [-0.4, 8.0]",
        "worst clip": "b (10.0%)",
        "mIoU to dense": "0.850",
        "AP to dense": "0.600",
        "F1 to dense": "0.700",
        "discovery median": "2",
        "discovery 90%": "7.6",
        "latency ratio": "0.38",
        "drift": "+0.010",
    }
    assert rows[0][headings.index("worst clip")] == "—"
    before = text[: text.index("| method")]
    assert "Against 'dense' on the same clips" in before
    assert "reference: annotation J" in before


def test_a_measure_has_one_column():
    headings, _ = cells_of(markdown_table(summary_rows(evaluation(), measure="miou")))
    assert [heading for heading in headings if "mIoU" in heading] == ["mIoU"]
    assert "J" not in headings and "J at one confidence" not in headings


def test_mean_j_has_that_of_one_confidence_beside_it():
    scores = [clip_scores("a", name, jaccard=0.5, mean_jaccard=0.4) for name in ("dense", "ours")]
    headings, rows = cells_of(markdown_table(summary_rows(scores, measure="mean_jaccard")))
    row = dict(zip(headings, rows[1], strict=True))
    assert (row["mean J"], row["J at one confidence"]) == ("0.400", "0.500")


def test_names_do_not_break_the_markdown_table():
    scores = [clip_scores("a", "dense"), clip_scores("a", "<b>|x")]
    text = markdown_table(summary_rows(scores))
    assert "| \\<b>\\|x |" in text


def test_clip_by_clip():
    def frames(*values):
        return [frame_scores(jaccard=value) for value in values]

    scores = [
        clip_scores("a", "dense", jaccard=0.8, frames=frames(0.1, 0.9, 0.8, 0.7)),
        clip_scores("b", "dense", jaccard=0.0, frames=frames(0.0, 0.0)),
        clip_scores("c", "dense", jaccard=None, frames=frames(None, None)),
        clip_scores(
            "a", "ours", jaccard=0.6, compute=0.25, frames=frames(0.0, 0.85, 0.5, 0.45), discovery_frames=(1, 2, 30)
        ),
        clip_scores("b", "ours", jaccard=0.1, compute=0.5, frames=frames(0.0, 0.1)),
        clip_scores("c", "ours", jaccard=None, compute=0.5, frames=frames(None, None)),
    ]
    headings, rows = cells_of(per_clip_table(scores, "ours").markdown())
    assert headings == ["clip", "compute", "J dense", "J method", "loss", "discovery", "worst frame"]
    # frame 2 falls by 0.3; frame 0, which fills the caches, does not count
    assert rows == [
        ["a", "25.0%", "0.800", "0.600", "25.00%", "2, 30", "2 (-0.30)"],
        ["b", "50.0%", "0.000", "0.100", "—", "—", "—"],
        ["c", "50.0%", "—", "—", "—", "—", "—"],
    ]


def test_clip_by_clip_needs_the_same_frames():
    scores = [
        clip_scores("a", "dense", frames=[frame_scores()] * 3),
        clip_scores("a", "ours", frames=[frame_scores()] * 2),
    ]
    with pytest.raises(EvaluationError, match="2 frames with 'ours' and 3 with 'dense'"):
        per_clip_table(scores, "ours")
    with pytest.raises(EvaluationError, match="no scores of 'other'"):
        per_clip_table(scores, "other")


def test_measures_of_whole_clips_have_no_worst_frame():
    scores = [
        clip_scores("a", method, ap=ap, frames=[frame_scores()] * 2) for method, ap in (("dense", 1.0), ("ours", 0.9))
    ]
    _, rows = cells_of(per_clip_table(scores, "ours", measure="ap").markdown())
    assert rows == [["a", "50.0%", "1.000", "0.900", "10.00%", "—", "—"]]
