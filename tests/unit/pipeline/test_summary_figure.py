"""The picture of a run: what it names, which panels it has, and spikes that it does not hide."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fluxshard.models.detections.agreement import Agreement
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.summary import summarise
from fluxshard.pipeline.summary_figure import draw_summary, title_lines

FACTS = {
    "model": "weights/net.pt", "video": "clips/street.mp4", "network_size": [384, 640], "policy": "planned",
    "canvas_px": 32, "dtype": "float32", "backend": "cpp", "device": "cpu",
    "machine": {"cpu": "Some Processor", "gpu": None, "threads": 2},
}  # fmt: skip


def record(frame, ms=10.0, **more):
    more = {"stats": {"compute_ratio": 0.2, "recompute_ratio": 0.1, "keyframe": frame == 0}} | more
    return FrameRecord(frame=frame, time_s=frame / 25, incremental_ms=ms, **more)


@pytest.fixture
def axes_of(monkeypatch, tmp_path):
    """Draws a summary, and gives the axes of its figure."""
    figures = []
    save = Figure.savefig

    def keep(figure, path):
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(Figure, "savefig", keep)

    def draw(records, facts=FACTS):
        draw_summary(records, summarise(records, facts), tmp_path / "summary.png")
        assert Image.open(tmp_path / "summary.png").size[0] == 1200
        return figures[-1].axes

    return draw


def labels(axis):
    return axis.get_legend_handles_labels()[1]


def test_model_size_policy_type_device_and_machine_are_named():
    name, figures, setting = title_lines(summarise([record(0), record(1)], FACTS | {"wall_s": 1.0}))
    assert name == "net.pt on street.mp4"
    assert figures == "median 10.0 ms a frame, 2.0 frames/s, 20% of the work"
    assert setting.split("  ·  ") == [
        "384x640 px", "planned reuse on a canvas of +32 px", "float32, cpp on cpu", "Some Processor, 2 threads",
    ]  # fmt: skip
    assert title_lines(summarise([record(0)], {}))[2] == ""


def test_axes_have_units(axes_of):
    axes = axes_of([record(index, agreement=Agreement(1, 0, 0, box_iou=0.9)) for index in range(5)])
    assert [axis.get_ylabel().split("\n")[0] for axis in axes] == [
        "latency (ms)", "share of dense (%)", "agreement with dense",
    ]  # fmt: skip
    assert axes[-1].get_xlabel() == "frame"


def test_spikes_beyond_the_scale_are_marked_and_named(axes_of):
    records = [record(index, ms=500.0 if index == 30 else 10.0 + index % 3) for index in range(100)]
    latency = axes_of(records)[0]
    top = latency.get_ylim()[1]
    assert top < 50 and "beyond the scale: up to 500 ms" in labels(latency)
    (marks,) = (one for one in latency.collections if one.get_label().startswith("beyond"))
    assert np.array_equal(marks.get_offsets(), [[30, top]])


def test_without_spikes_everything_is_inside_the_scale(axes_of):
    latency = axes_of([record(index, ms=10.0 + index % 5) for index in range(50)])[0]
    assert latency.get_ylim()[1] > 14 and not any("beyond" in label for label in labels(latency))


@pytest.mark.parametrize(
    ("more", "panels"),
    [
        ({}, 2),
        ({"stats": {}}, 1),
        ({"max_difference": 0.5}, 3),
        ({"agreement": Agreement(0, 0, 0)}, 2),  # nothing was found by either
        ({"agreement": Agreement(0, 0, 0), "max_difference": 0.5}, 3),
    ],
)
def test_no_panel_is_empty(axes_of, more, panels):
    axes = axes_of([record(index, **more) for index in range(4)])
    assert len(axes) == panels and all(axis.lines for axis in axes)


def test_a_run_of_one_frame_says_so_without_panels(axes_of):
    assert axes_of([record(0)]) == []


def test_whole_and_carried_frames_are_in_the_legend(axes_of):
    records = [record(index, carried=index % 2) for index in range(6)]
    records[4] = record(4, stats={"compute_ratio": 1.0, "keyframe": True})
    latency, work = axes_of(records)
    assert "whole frame" in labels(latency) and {"whole frame", "carried"} <= set(labels(work))
