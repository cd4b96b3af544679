"""Plots of frames show the numbers that they should."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.evaluate.report import frame_plots
from tests.unit.evaluate.report.scores import clip_scores, frame_scores, lines_of


def test_reuse_is_binned_by_motion(saved, tmp_path):
    frames = [frame_scores(motion=99, recompute=1.0)]
    frames += [
        frame_scores(motion=motion, recompute=share) for motion, share in ((1, 0.1), (1, 0.3), (5, 0.6), (7, 0.8))
    ]
    frame_plots.draw_reuse_over_motion([clip_scores("a", "m", frames=frames)], tmp_path / "a.png", bins=2)
    (axis,) = saved[0].get_axes()
    assert lines_of(axis)["m"].tolist() == [[1, pytest.approx(80)], [6, pytest.approx(30)]]


def test_frames_that_all_move_equally_are_one_point(saved, tmp_path):
    frames = [frame_scores(motion=0, recompute=share) for share in (1, 0.25, 0.75)]
    frame_plots.draw_reuse_over_motion([clip_scores("a", "m", frames=frames)], tmp_path / "a.png")
    assert lines_of(saved[0].get_axes()[0])["m"].tolist() == [[0, pytest.approx(50)]]


def test_the_line_of_latencies_is_fitted_and_single_outliers_do_not_move_it(saved, tmp_path):
    shares = np.linspace(0, 1, 101)
    frames = [frame_scores()] + [frame_scores(compute=share, latency=4 + 60 * share) for share in shares]
    frames[10] = frame_scores(compute=shares[9], latency=900.0)
    dense = [frame_scores(latency=value) for value in (500.0, 80.0, 82.0, 84.0)]
    scores = [
        clip_scores("a", "dense", frames=dense),
        clip_scores("a", "m", frames=frames, facts={"family": "ours"}),
    ]
    frame_plots.draw_latency(scores, tmp_path / "a.png")
    (axis,) = saved[0].get_axes()
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["ours: 4.0 ms + 0.60 ms per %", "dense: 82.0 ms"]
    assert axis.get_ylim()[1] < 100
    assert "1 slower frame lies above the picture" in saved[0].get_supxlabel()


def test_equal_compute_has_no_line(saved, tmp_path):
    scores = [clip_scores("a", "m", frames=[frame_scores()] * 3)]
    frame_plots.draw_latency(scores, tmp_path / "a.png")
    assert [text.get_text() for text in saved[0].get_axes()[0].get_legend().get_texts()] == ["m"]
