"""Style of plots: text as it is, labels that do not overlap, and distinct series."""

from __future__ import annotations

import pytest

from fluxshard.evaluate.report.plot_style import (
    LABEL_SIZE,
    Label,
    annotate,
    canvas,
    place_labels,
    plain,
    save,
    style_of,
)


@pytest.mark.filterwarnings("error")
def test_names_with_formulas_and_underscores_are_drawn_as_they_are(tmp_path):
    figure, (axis,) = canvas(tmp_path / "a.png")
    axis.plot([0, 1], [0, 1], label=plain("_$a_{$"))
    annotate(figure, axis, "_$x$", "$ $")
    save(figure, tmp_path / "a.png")
    (text,) = axis.get_legend().get_texts()
    assert text.get_text().strip() == "_\\$a_{\\$"


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
