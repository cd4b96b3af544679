"""Plots of accuracy show the numbers that they should."""

from __future__ import annotations

import pytest

from fluxshard.evaluate.report import accuracy_plots
from tests.unit.evaluate.report.scores import clip_scores, lines_of


def test_the_frontier_shows_compute_and_accuracy(saved, tmp_path):
    scores = [
        clip_scores("a", "dense", jaccard=0.8, compute=1.0),
        clip_scores("a", "m2", jaccard=0.76, compute=0.5, facts={"family": "m"}),
        clip_scores("a", "m1", jaccard=0.72, compute=0.25, facts={"family": "m"}),
        clip_scores("a", "m0", jaccard=0.4, compute=0.125, facts={"family": "m"}),
    ]
    accuracy_plots.draw_frontier(scores, tmp_path / "a.png", lowest=0.85)
    (axis,) = saved[0].get_axes()
    paths = [line.get_xydata().tolist() for line in axis.get_lines() if len(line.get_xydata()) == 3]
    assert paths == [[[12.5, pytest.approx(0.4)], [25, pytest.approx(0.72)], [50, pytest.approx(0.76)]]]
    heights = sorted(line.get_ydata()[0] for line in axis.get_lines() if line.get_xdata()[0] == 0)
    assert heights == pytest.approx([0.8 * 0.95, 0.8 * 0.97, 0.8 * 0.99, 0.8])
    floor = axis.get_ylim()[0]
    assert 0.8 * 0.85 <= floor < 0.72
    below = [line.get_xydata().tolist() for line in axis.get_lines() if line.get_marker() == "v"]
    assert below == [[[12.5, floor]]]
    assert any(text.get_text() == "0: 0.400" for text in axis.texts)


def test_bars_are_the_means_and_say_what_is_lost(saved, tmp_path):
    scores = [clip_scores("a", "dense", jaccard=0.8), clip_scores("a", "m", jaccard=0.6)]
    accuracy_plots.draw_naive_reuse(scores, tmp_path / "a.png", methods={"dense": "dense", "reuse": "m"})
    (axis,) = saved[0].get_axes()
    assert [bar.get_height() for bar in axis.patches] == [0.8, 0.6]
    assert [text.get_text() for text in axis.texts] == ["0.800", "0.600\nloss 25.00%"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["dense", "reuse"]
    assert axis.get_ylim()[0] == 0
    accuracy_plots.draw_naive_reuse(scores, tmp_path / "a.png", methods={"reuse": "m"})
    (axis,) = saved[1].get_axes()
    assert [bar.get_height() for bar in axis.patches] == [0.6]
    assert lines_of(axis)["dense: 0.800"][:, 1].tolist() == [0.8, 0.8]
