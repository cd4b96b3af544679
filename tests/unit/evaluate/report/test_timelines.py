"""Plots of one clip show the numbers that they should."""

from __future__ import annotations

import numpy as np

from fluxshard.evaluate.report import timelines
from tests.unit.evaluate.report.scores import clip_scores, frame_scores, lines_of


def test_remap_shows_the_first_frames_after_the_first(saved, tmp_path):
    def clip(method, share):
        frames = [frame_scores(recompute=1, compute=1), *[frame_scores(recompute=share, compute=share / 2)] * 9]
        return clip_scores("a", method, frames=frames)

    timelines.draw_remap(
        [clip("on", 0.2), clip("off", 0.6)],
        tmp_path / "a.png",
        clip="a",
        with_remap="on",
        without_remap="off",
        frames=4,
    )
    reuse, compute = saved[0].get_axes()
    assert lines_of(reuse)["off"].tolist() == [[index, 40] for index in range(1, 5)]
    assert lines_of(compute)["on"].tolist() == [[index, 10] for index in range(1, 5)]


def test_a_clip_has_a_line_per_method_and_marks_whole_frames(saved, tmp_path):
    frames = [
        frame_scores(jaccard=value, keyframe=key)
        for value, key in ((0.1, True), (0.5, False), (None, True), (0.7, False))
    ]
    scores = [clip_scores("a", method, frames=frames) for method in ("dense", "m")]
    timelines.draw_clip(scores, tmp_path / "a.png", clip="a")
    (axis,) = saved[0].get_axes()
    drawn = lines_of(axis)
    assert np.array_equal(drawn["m"], [[1, 0.5], [2, np.nan], [3, 0.7]], equal_nan=True)
    assert np.array_equal(drawn["dense"], drawn["m"], equal_nan=True)
    assert [line.get_xdata().tolist() for line in axis.get_lines() if line.get_marker() == "|"] == [[2]]
    assert axis.get_ylim()[0] < 0.5 and axis.get_ylim()[1] > 0.7
    timelines.draw_clip(scores, tmp_path / "a.png", clip="a", methods=["m"])
    assert set(lines_of(saved[1].get_axes()[0])) >= {"dense", "m"}
