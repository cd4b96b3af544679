"""Pictures are written, without warnings, and show the numbers that they should."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fluxshard.errors import EvaluationError, OptionError
from fluxshard.evaluate.report import plots, timelines
from fluxshard.evaluate.report.plot_style import LABEL_SIZE, Label, annotate, canvas, place_labels, save, style_of
from tests.unit.evaluate.report.scores import clip_scores, evaluation, frame_scores

DRAWN = {
    "frontier": plots.draw_frontier,
    "reuse": plots.draw_reuse_over_motion,
    "naive": lambda scores, path: plots.draw_naive_reuse(
        scores, path, methods={"dense": "dense", "check": "frontier@1%", "none": "bare"}
    ),
    "latency": plots.draw_latency,
    "remap": lambda scores, path: timelines.draw_remap(
        scores, path, clip="bear", with_remap="frontier@1%", without_remap="bare"
    ),
    "clip": lambda scores, path: timelines.draw_clip(scores, path, clip="cows"),
}


@pytest.fixture
def kept(monkeypatch):
    """The figures that were saved, instead of files."""
    figures = []
    for module in (plots, timelines):
        monkeypatch.setattr(module, "save", lambda figure, path: figures.append(figure) or path)
    return figures


def lines_of(axis):
    return {line.get_label(): line.get_xydata() for line in axis.get_lines()}


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
    path = plots.draw_frontier(evaluation(), tmp_path / "a.svg")
    assert "<svg" in path.read_text()[:1000] and "<dc:date>" not in path.read_text()
    with pytest.raises(OptionError, match=r"written as \.png or \.svg, not '\.jpg'"):
        plots.draw_frontier(evaluation(), tmp_path / "a.jpg")


@pytest.mark.filterwarnings("error")
def test_names_with_formulas_and_underscores_are_drawn_as_they_are(tmp_path):
    figure, (axis,) = canvas(tmp_path / "a.png")
    axis.plot([0, 1], [0, 1], label=plots.plain("_$a_{$"))
    annotate(figure, axis, "_$x$", "$ $")
    save(figure, tmp_path / "a.png")
    (text,) = axis.get_legend().get_texts()
    assert text.get_text().strip() == "_\\$a_{\\$"


def test_the_frontier_shows_compute_and_what_is_kept(kept, tmp_path):
    scores = [
        clip_scores("a", "dense", jaccard=0.8, compute=1.0),
        clip_scores("a", "m2", jaccard=0.76, compute=0.5, facts={"family": "m"}),
        clip_scores("a", "m1", jaccard=0.72, compute=0.25, facts={"family": "m"}),
        clip_scores("a", "m0", jaccard=0.4, compute=0.125, facts={"family": "m"}),
    ]
    plots.draw_frontier(scores, tmp_path / "a.png", lowest=0.85)
    (axis,) = kept[0].get_axes()
    paths = [line.get_xydata().tolist() for line in axis.get_lines() if len(line.get_xydata()) == 3]
    assert paths == [[[12.5, pytest.approx(0.4)], [25, pytest.approx(0.72)], [50, pytest.approx(0.76)]]]
    levels = sorted(line.get_ydata()[0] for line in axis.get_lines() if line.get_xdata()[0] == 0)
    assert levels == pytest.approx([0.8 * 0.95, 0.8 * 0.97, 0.8 * 0.99, 0.8])
    floor = axis.get_ylim()[0]
    assert 0.8 * 0.85 <= floor < 0.72
    below = [line.get_xydata().tolist() for line in axis.get_lines() if line.get_marker() == "v"]
    assert below == [[[12.5, floor]]]
    assert any(text.get_text() == "0: 0.400" for text in axis.texts)


def test_reuse_is_binned_by_motion(kept, tmp_path):
    frames = [frame_scores(motion=99, recompute=1.0)]
    frames += [
        frame_scores(motion=motion, recompute=share) for motion, share in ((1, 0.1), (1, 0.3), (5, 0.6), (7, 0.8))
    ]
    plots.draw_reuse_over_motion([clip_scores("a", "m", frames=frames)], tmp_path / "a.png", bins=2)
    (axis,) = kept[0].get_axes()
    assert lines_of(axis)["m"].tolist() == [[1, pytest.approx(80)], [6, pytest.approx(30)]]


def test_frames_that_all_move_equally_are_one_point(kept, tmp_path):
    frames = [frame_scores(motion=0, recompute=share) for share in (1, 0.25, 0.75)]
    plots.draw_reuse_over_motion([clip_scores("a", "m", frames=frames)], tmp_path / "a.png")
    assert lines_of(kept[0].get_axes()[0])["m"].tolist() == [[0, pytest.approx(50)]]


def test_bars_are_the_means_and_say_what_is_lost(kept, tmp_path):
    scores = [clip_scores("a", "dense", jaccard=0.8), clip_scores("a", "m", jaccard=0.6)]
    plots.draw_naive_reuse(scores, tmp_path / "a.png", methods={"dense": "dense", "reuse": "m"})
    (axis,) = kept[0].get_axes()
    assert [bar.get_height() for bar in axis.patches] == [0.8, 0.6]
    assert [text.get_text() for text in axis.texts] == ["0.800", "0.600\nloss 25.00%"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["dense", "reuse"]
    assert axis.get_ylim()[0] == 0
    plots.draw_naive_reuse(scores, tmp_path / "a.png", methods={"reuse": "m"})
    (axis,) = kept[1].get_axes()
    assert [bar.get_height() for bar in axis.patches] == [0.6]
    assert lines_of(axis)["dense: 0.800"][:, 1].tolist() == [0.8, 0.8]


def test_the_line_of_latencies_is_fitted_and_single_outliers_do_not_move_it(kept, tmp_path):
    shares = np.linspace(0, 1, 101)
    frames = [frame_scores()] + [frame_scores(compute=share, latency=4 + 60 * share) for share in shares]
    frames[10] = frame_scores(compute=shares[9], latency=900.0)
    dense = [frame_scores(latency=value) for value in (500.0, 80.0, 82.0, 84.0)]
    scores = [
        clip_scores("a", "dense", frames=dense),
        clip_scores("a", "m", frames=frames, facts={"family": "ours"}),
    ]
    plots.draw_latency(scores, tmp_path / "a.png")
    (axis,) = kept[0].get_axes()
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["ours: 4.0 ms + 0.60 ms per %", "dense: 82.0 ms"]
    assert axis.get_ylim()[1] < 100
    assert "1 slower frame lies above the picture" in kept[0].get_supxlabel()


def test_equal_compute_has_no_line(kept, tmp_path):
    scores = [clip_scores("a", "m", frames=[frame_scores()] * 3)]
    plots.draw_latency(scores, tmp_path / "a.png")
    assert [text.get_text() for text in kept[0].get_axes()[0].get_legend().get_texts()] == ["m"]


def test_remap_shows_the_first_frames_after_the_first(kept, tmp_path):
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
    reuse, compute = kept[0].get_axes()
    assert lines_of(reuse)["off"].tolist() == [[index, 40] for index in range(1, 5)]
    assert lines_of(compute)["on"].tolist() == [[index, 10] for index in range(1, 5)]


def test_a_clip_has_a_line_per_method_and_marks_whole_frames(kept, tmp_path):
    frames = [
        frame_scores(jaccard=value, keyframe=key)
        for value, key in ((0.1, True), (0.5, False), (None, True), (0.7, False))
    ]
    scores = [clip_scores("a", method, frames=frames) for method in ("dense", "m")]
    timelines.draw_clip(scores, tmp_path / "a.png", clip="a")
    (axis,) = kept[0].get_axes()
    drawn = lines_of(axis)
    assert np.array_equal(drawn["m"], [[1, 0.5], [2, np.nan], [3, 0.7]], equal_nan=True)
    assert np.array_equal(drawn["dense"], drawn["m"], equal_nan=True)
    assert [line.get_xdata().tolist() for line in axis.get_lines() if line.get_marker() == "|"] == [[2]]
    assert axis.get_ylim()[0] < 0.5 and axis.get_ylim()[1] > 0.7
    timelines.draw_clip(scores, tmp_path / "a.png", clip="a", methods=["m"])
    assert set(lines_of(kept[1].get_axes()[0])) >= {"dense", "m"}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda path: plots.draw_frontier([clip_scores("a", "dense")], path), "no method has J to compare"),
        (lambda path: plots.draw_reuse_over_motion([clip_scores("a", "m")], path), "no frame after the first"),
        (lambda path: plots.draw_reuse_over_motion(evaluation(), path, methods=["x"]), "no scores of 'x'"),
        (lambda path: plots.draw_latency([clip_scores("a", "m")], path), "no frame after the first"),
        (
            lambda path: plots.draw_naive_reuse(
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


def test_labels_keep_clear_of_each_other(tmp_path):
    figure, (axis,) = canvas(tmp_path / "a.png")
    axis.set_xlim(0, 10)
    axis.set_ylim(0, 10)
    labels = [Label(x, 5.0, f"label {x:.2f}", "#000000", (x - 0.5, x + 0.5), (4.5, 5.5)) for x in (4.9, 5.0, 5.1)]
    place_labels(figure, axis, labels)
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axis.texts if text.get_fontsize() == LABEL_SIZE]
    assert len(boxes) >= 2
    assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[:index])
    whisker = axis.transData.transform([(4.4, 5), (5.6, 5)])
    assert not any(
        box.y0 < whisker[0][1] < box.y1 and box.x0 < whisker[1][0] and box.x1 > whisker[0][0] for box in boxes
    )


def test_a_label_without_a_place_is_left_out(tmp_path):
    figure, (axis,) = canvas(tmp_path / "a.png")
    place_labels(figure, axis, [Label(0.5, 0.5, "x" * 400, "#000000", (0.5, 0.5), (0.5, 0.5))])
    assert list(axis.texts) == []


def test_styles_differ():
    assert len({style_of(index) for index in range(24)}) == 24
