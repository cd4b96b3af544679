"""What films show of networks without detections."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.models.drawing.colours import colour_of
from fluxshard.models.tasks.heads import head_for
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.sinks.annotated_film import AnnotatedFilm, annotate
from fluxshard.pipeline.sinks.sink import FrameView
from fluxshard.pipeline.sinks.task_drawing import TaskDrawing
from tests.unit.pipeline.frame_loop import IMAGE, PICTURE, frames

RECORD = FrameRecord(frame=3, time_s=0.12, stats={"compute_ratio": 0.25}, incremental_ms=12.5)
NAMES = ("road", "a name of more than fourteen letters")
CLASSES = torch.zeros(1, 3, 8, 12)
CLASSES[0, 1, :, 6:] = 1.0
DEPTHS = torch.linspace(1, 5, 96).reshape(1, 1, 8, 12)


def view(task, outputs, work=None):
    (frame,) = frames(1)
    result = head_for(task, IMAGE)(outputs)
    if result is not None:
        box = frame.letterbox
        result = result.to_picture(box.scale, (float(box.offset[0]), float(box.offset[1])), box.picture_size)
    return FrameView(frame=frame, found=None, outputs=outputs, work_map=lambda: work, result=result)


def drawn(task, outputs, drawing=None):
    canvas = np.full((*PICTURE, 3), 60, np.uint8)
    return canvas, (drawing or TaskDrawing(task, NAMES)).draw(canvas, RECORD, view(task, outputs), show_work=False)


def test_classes_have_their_colours_and_are_named_by_index():
    canvas, fields = drawn("semantic", CLASSES)
    left, right = canvas[64, 20].astype(int), canvas[64, 180].astype(int)
    assert np.abs(left - (60 + np.array(colour_of(0))) / 2).max() <= 1
    assert np.abs(right - (60 + np.array(colour_of(1))) / 2).max() <= 1
    assert [(field.text, field.swatch) for field in fields.values()] == [
        ("road", colour_of(0)), ("a name of mor…", colour_of(1)),
    ]  # fmt: skip


def test_of_many_classes_those_with_most_of_the_picture_are_named():
    labels = torch.arange(96).reshape(1, 8, 12) % 20
    _, fields = drawn("semantic", labels)
    assert [field.text for field in fields.values()][2:] == [str(n) for n in range(2, 8)] and len(fields) == 8


def test_a_ranking_leaves_the_picture_alone():
    canvas, fields = drawn("classify", torch.tensor([[0.25, 0.75]]))
    assert (canvas == 60).all()
    assert [(field.text, field.bar) for field in fields.values()] == [
        ("a name of mor… 0.75", 0.75),
        ("road 0.25", 0.25),
    ]


@pytest.mark.parametrize("task", ["depth", "raw"])
def test_numbers_are_colours_with_a_scale(task):
    canvas, fields = drawn(task, DEPTHS)
    assert canvas[-1, -1].sum() > canvas[0, 0].sum()
    assert fields["scale"].ramp[1] == "1.08" and fields["scale"].text == "4.92 (1 channel of 8x12)"


def test_the_scale_widens_at_once_and_narrows_slowly():
    drawing = TaskDrawing("depth")
    ranges = []
    for factor in (1.0, 2.0, 1.0, 1.0):
        fields = drawn("depth", factor * DEPTHS, drawing)[1]
        ranges.append(float(fields["scale"].text.split()[0]))
    assert ranges[1] == pytest.approx(2 * ranges[0], rel=0.01) and ranges[1] > ranges[2] > ranges[3] > 1.7 * ranges[0]
    nothing = drawn("depth", torch.full_like(DEPTHS, torch.nan), drawing)[1]
    assert float(nothing["scale"].text.split()[0]) == ranges[3]


def test_outputs_without_a_map_leave_the_picture_alone():
    canvas, fields = drawn("raw", torch.zeros(1, 10))
    assert (canvas == 60).all() and fields == {}


def test_work_over_maps_is_a_line_that_leaves_their_colours_alone():
    work = np.zeros((8, 12), np.float32)
    work[2:6, 2:6] = 1.0
    without = annotate(RECORD, view("semantic", CLASSES), task="semantic")
    changed = (annotate(RECORD, view("semantic", CLASSES, work), task="semantic", show_work=True) != without).any(-1)
    assert changed[32].any() and not changed[40:80, 40:80].any()


@pytest.mark.parametrize(
    ("task", "outputs"),
    [("semantic", CLASSES), ("classify", torch.rand(1, 9)), ("depth", DEPTHS), ("raw", DEPTHS), ("raw", None)],
)
def test_films_of_every_task_explain_their_colours(tmp_path, task, outputs):
    with AnnotatedFilm(tmp_path / "film.mp4", PICTURE, 25.0, task=task) as film:
        page = film.draw(RECORD, view(task, outputs))
    with AnnotatedFilm(tmp_path / "plain.mp4", PICTURE, 25.0) as film:
        plain = film.draw(RECORD, view("raw", None))
    assert page.shape[0] > plain.shape[0]
