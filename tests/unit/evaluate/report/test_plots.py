"""All plots: files are written without warnings, and missing data is an error."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image

from fluxshard.errors import EvaluationError, OptionError
from fluxshard.evaluate.report import accuracy_plots, frame_plots, timelines
from tests.unit.evaluate.report.scores import clip_scores, evaluation

DRAWN = {
    "frontier": accuracy_plots.draw_frontier,
    "frontier over time": partial(accuracy_plots.draw_frontier, over="time"),
    "reuse": frame_plots.draw_reuse_over_motion,
    "naive": lambda scores, path: accuracy_plots.draw_naive_reuse(
        scores, path, methods={"dense": "dense", "check": "frontier@1%", "none": "bare"}
    ),
    "latency": frame_plots.draw_latency,
    "remap": lambda scores, path: timelines.draw_remap(
        scores, path, clip="bear", with_remap="frontier@1%", without_remap="bare"
    ),
    "clip": lambda scores, path: timelines.draw_clip(scores, path, clip="cows"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_written_without_warnings(name, tmp_path):
    path = DRAWN[name](evaluation(), tmp_path / "new" / f"{name}.png")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 400
    assert 0.01 < (pixels < 250).any(axis=-1).mean() < 0.9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DRAWN)
def test_one_frame_of_one_clip_is_enough(name, tmp_path):
    scores = [entry for entry in evaluation(2) if entry.clip == ("cows" if name == "clip" else "bear")]
    assert DRAWN[name](scores, tmp_path / f"{name}.png").stat().st_size > 5000


def test_svg_by_its_suffix_and_no_other(tmp_path):
    path = accuracy_plots.draw_frontier(evaluation(), tmp_path / "a.svg")
    assert "<svg" in path.read_text()[:1000] and "<dc:date>" not in path.read_text()
    with pytest.raises(OptionError, match=r"written as \.png or \.svg, not '\.jpg'"):
        accuracy_plots.draw_frontier(evaluation(), tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda path: accuracy_plots.draw_frontier([clip_scores("a", "dense")], path), "no method has J to compare"),
        (lambda path: frame_plots.draw_reuse_over_motion([clip_scores("a", "m")], path), "no frame after the first"),
        (lambda path: frame_plots.draw_reuse_over_motion(evaluation(), path, methods=["x"]), "no scores of 'x'"),
        (lambda path: frame_plots.draw_latency([clip_scores("a", "m")], path), "no frame after the first"),
        (
            lambda path: accuracy_plots.draw_naive_reuse(
                [clip_scores("a", "dense", jaccard=None)], path, methods={"a": "dense"}
            ),
            "'dense' has no J",
        ),
        (lambda path: timelines.draw_clip([clip_scores("a", "m")], path, clip="a"), "no method has J of a frame"),
        (lambda path: timelines.draw_clip(evaluation(), path, clip="x", methods=["bare"]), "no scores on clip 'x'"),
        (
            lambda path: timelines.draw_remap(
                [clip_scores("a", "m")], path, clip="a", with_remap="m", without_remap="m"
            ),
            "no frame after the first with 'm'",
        ),
    ],
)
def test_nothing_to_draw_is_said(draw, message, tmp_path):
    with pytest.raises(EvaluationError, match=message):
        draw(tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
