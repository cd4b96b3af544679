"""Planned reuse on the command line without a compiled model: thresholds, the canvas, and what the loop says."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cli.files import write_results
from fluxshard.cli.reuse import ReuseFlags, describe, settle
from fluxshard.errors import OptionError, ProfileError
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.options import SMALL_OBJECT, LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.engines.engine import StepCounts
from fluxshard.runtime.planned.planner import PlannedFrame
from fluxshard.runtime.threshold_profile import ThresholdProfile
from fluxshard.testing.fake_session import YOLO_LIKE
from fluxshard.testing.fake_session import FakeSession as Stream
from fluxshard.testing.fake_session import detection as outputs
from tests.unit.cli.frame_loop import read_lines, run_loop

ANY_SIZE = LoadedModel(torch.nn.Identity())
ONE_SIZE = LoadedModel(torch.nn.Identity(), input_shape=(64, 96))


def a_profile(path: Path, canvas_px=64, **options):
    planned = PlannedOptions(tau=0.07, levels={8: LevelOptions(gain=2.0)})
    profile = ThresholdProfile(
        reuse=ReuseOptions(policy="planned", planned=planned, **options), canvas_px=canvas_px, network="n", weights="w"
    )
    profile.save(path)
    return profile


# --- flags and profiles


def test_planned_reuse_is_the_default():
    reuse = settle(ReuseFlags())
    assert reuse.options == ReuseOptions(policy="planned") and reuse.profile is None
    assert reuse.canvas_px(YOLO_LIKE) == 0 and reuse.canvas_px(ONE_SIZE) == 0
    assert settle(ReuseFlags(canvas=False)).canvas_px(YOLO_LIKE) == 0


def test_the_canvas_is_as_large_as_the_stride():
    reuse = settle(ReuseFlags(canvas=True))
    assert reuse.canvas_px(YOLO_LIKE) == 32 and reuse.canvas_px(replace(YOLO_LIKE, stride_px=64)) == 64
    assert reuse.canvas_px(ANY_SIZE) == 32  # its stride is not known


def test_propagated_reuse_keeps_its_defaults():
    reuse = settle(ReuseFlags(policy="propagated"))
    assert reuse.options == ReuseOptions(tau_input=0.02, tau=0.1, rfap="compact", input="assembled", remap=True)
    assert reuse.canvas_px(YOLO_LIKE) == 0
    flags = ReuseFlags(
        policy="propagated", canvas=False, tau_input=0.0, tau=0.0, rfap="off", input="fresh", remap=False
    )
    assert settle(flags).options == ReuseOptions(rfap="off", input="fresh", remap=False)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (ReuseFlags(tau_input=0.0), "--tau-input is for --policy propagated; .* or leave out it"),
        (
            ReuseFlags(policy="planned", tau=0.1, rfap="compact", input="fresh", remap=True),
            "--tau, --rfap, --input, --remap are for --policy propagated; .* leave out them",
        ),
        (ReuseFlags(remap=False), "--no-remap is for"),
        (ReuseFlags(policy="propagated", canvas=True), "--canvas is for --policy planned"),
        (ReuseFlags(policy="propagated", tau=-1.0), "tau"),
    ],
)
def test_flags_that_do_not_go_together(flags, message):
    with pytest.raises(OptionError, match=message):
        settle(flags)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (ReuseFlags(policy="planned"), "--policy"),
        (ReuseFlags(canvas=True), "--canvas"),
        (ReuseFlags(canvas=False, tau=0.0, tau_input=0.0), "--no-canvas, --tau-input, --tau"),
        (ReuseFlags(remap=False, rfap="off", input="fresh"), "--rfap, --input, --no-remap"),
    ],
)
def test_what_a_profile_sets_cannot_be_given_beside_it(flags, names, tmp_path):
    a_profile(tmp_path / "p.json")
    with pytest.raises(OptionError, match=re.escape(f"--profile sets what {names} would set: leave out")):
        settle(replace(flags, profile=tmp_path / "p.json"))


def test_a_profile_decides_policy_thresholds_and_canvas(tmp_path):
    profile = a_profile(tmp_path / "p.json", scene_cut=0.5)
    reuse = settle(ReuseFlags(profile=tmp_path / "p.json"))
    assert reuse.options == profile.reuse and reuse.profile == profile
    assert reuse.canvas_px(YOLO_LIKE) == 64
    a_profile(tmp_path / "small.json", canvas_px=0)
    assert settle(ReuseFlags(profile=tmp_path / "small.json")).canvas_px(ONE_SIZE) == 0


def test_a_program_of_one_size_takes_no_canvas(tmp_path):
    a_profile(tmp_path / "p.json")
    for flags, word in ((ReuseFlags(canvas=True), "--canvas"), (ReuseFlags(profile=tmp_path / "p.json"), "64 px")):
        with pytest.raises(OptionError, match=f"{word} .* exported for 64x96 only"):
            settle(flags).canvas_px(ONE_SIZE)


def test_profiles_that_cannot_be_read(tmp_path):
    (tmp_path / "half.json").write_text('{"format": 1, "network"')
    (tmp_path / "future.json").write_text('{"format": 99}')
    for name in ("no.json", "half.json", "future.json"):
        with pytest.raises(ProfileError, match=name):
            settle(ReuseFlags(profile=tmp_path / name))


def test_what_is_said_of_the_thresholds(tmp_path):
    a_profile(tmp_path / "street.json")

    def said(flags, canvas_px=0, dtype="float32"):
        return describe(flags, settle(flags).options, canvas_px, dtype)

    assert said(ReuseFlags(), 32).startswith("planned reuse, default thresholds, on a canvas of +32 px; approximate: ")
    shipped = PlannedOptions()
    assert f"less than {shipped.tau:g} ({shipped.tau_background:g} away from objects)" in said(ReuseFlags())
    raw = describe(ReuseFlags(), settle(ReuseFlags()).options, 0, "float32", finds_objects=False)
    assert f"less than {shipped.tau:g} is reused" in raw
    assert said(ReuseFlags(profile=tmp_path / "street.json")).startswith("planned reuse, profile street.json; approx")
    assert "less than 0.07 " in said(ReuseFlags(profile=tmp_path / "street.json"))
    loose = said(ReuseFlags(policy="propagated"))
    assert loose.startswith("propagated reuse, default thresholds; approximate: pixels within 0.02 and features within")
    exact = ReuseFlags(policy="propagated", tau_input=0.0, tau=0.0, rfap="per_layer", input="fresh")
    assert said(exact) == "propagated reuse, given thresholds; exact: equals the dense network up to rounding"
    assert said(exact, dtype="float16").endswith("rounding to float16")
    assert "approximate" in said(replace(exact, input=None))


# --- the loop


def test_what_is_found_on_a_canvas_lies_where_the_image_lies(tmp_path):
    """The image moves by (3, 5) px a frame over the canvas; what is reported stands still, as the dense network's."""
    stream = Stream(step=(3, 5))
    records = list(
        run_loop(tmp_path, stream, dense=lambda image: outputs(32.0), canvas_px=32, planned=PlannedOptions())
    )
    lines = read_lines(tmp_path)
    assert [line["origin"] for line in lines] == [[0, 0], [3, 5], [6, 10], [9, 15], [12, 20]]
    for record, line in zip(records, lines, strict=True):
        assert line["detections"] == [{"class": 1, "name": "dog", "score": 0.9, "box": [44, 40, 84, 80]}]
        assert record.agreement.matched == 1 and record.agreement.box_iou == pytest.approx(1.0)
        assert record.max_difference is None  # outputs of the canvas and of the image are no pairs
    assert len(stream.regions) == 5
    last = np.zeros((12, 16), np.uint8)  # (64 + 32) / 8, (96 + 32) / 8
    last[32 // 8 : 52 // 8 + 1, 42 // 8 : 62 // 8 + 1] = SMALL_OBJECT  # the box, 20..40 and 22..42, on the canvas
    assert np.array_equal(stream.regions[-1], last)


@pytest.mark.parametrize(
    ("score", "conf", "floor", "shown", "focused"),
    [(0.15, 0.25, 0.1, 0, True), (0.08, 0.05, 0.1, 1, False), (0.9, 0.25, 0.1, 1, True), (0.02, 0.25, 0.1, 0, False)],
)
def test_objects_are_regions_before_they_are_shown(score, conf, floor, shown, focused, tmp_path):
    stream = Stream(score=score)
    given = {"confidence": conf, "planned": PlannedOptions(region_confidence=floor)}
    records = list(run_loop(tmp_path, stream, n=2, dense=lambda image: outputs(32.0), **given))
    assert [record.detections for record in records] == [shown] * 2
    assert [len(line["detections"]) for line in read_lines(tmp_path)] == [shown] * 2
    assert [bool(regions.any()) for regions in stream.regions] == [focused] * 2
    assert records[1].agreement.matched == shown and records[1].agreement.missed == 1 - shown


def test_streams_that_do_not_want_to_know_are_not_told(tmp_path):
    for name, loaded, objects in (("a", YOLO_LIKE, None), ("b", ANY_SIZE, PlannedOptions())):
        (tmp_path / name).mkdir()
        stream = Stream()
        list(run_loop(tmp_path / name, stream, n=3, loaded=loaded, planned=objects))
        assert stream.regions == [] and len(stream.seen) == 3


def test_work_on_a_canvas_is_drawn_where_it_was_done(tmp_path):
    stream, pictures = Stream(step=(8, 16)), []
    work = np.zeros((12, 16), np.float32)
    work[2, 3] = 1.0
    stream.work_map = lambda: work
    list(run_loop(tmp_path, stream, n=2, loaded=ANY_SIZE, pictures=pictures, show_reuse=True, canvas_px=32))
    for picture, (row, column) in zip(pictures, ((2, 3), (1, 1)), strict=True):
        tinted = (picture != 60).any(-1)[:100]  # above the caption
        expected = np.zeros_like(tinted)
        expected[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = (
            True  # 8 px of the image are 16 of the picture
        )
        assert np.array_equal(tinted, expected)


def test_planned_work_is_recorded(tmp_path):
    counts = StepCounts(keyframe=False, input_cells=1, candidates=np.array([20]), executed=np.array([True]))
    stream = Stream(planned=PlannedFrame(work={}, counts=counts, work_ratio=0.4375, shards=()))
    records = list(run_loop(tmp_path, stream, n=3))
    assert [record.planned_work for record in records] == [0.4375] * 3
    assert [line["planned_work"] for line in read_lines(tmp_path)] == [0.4375] * 3


def test_results_of_a_run_on_a_canvas(tmp_path):
    """Agreement is summed up and drawn, though there is no difference of raw outputs."""
    from rich.console import Console

    from fluxshard.cli.summary import summary_table

    stream = Stream(step=(1, 1))
    records = list(run_loop(tmp_path, stream, dense=lambda image: outputs(32.0), canvas_px=8, planned=PlannedOptions()))
    records = [
        replace(record, planned_work=share) for record, share in zip(records, (1, 0.2, 0.4, 0.2, 0.2), strict=True)
    ]
    facts = {"model": "m.pt", "video": "v.mp4", "out": str(tmp_path), "policy": "planned", "canvas_px": 8}
    summary = write_results(records, facts, tmp_path)
    assert summary["agreement"]["f1"] == 1.0 and summary["agreement"]["max_difference"] is None
    assert summary["planned_work"]["mean"] == pytest.approx(0.25)  # the first frame is left out
    assert summary["latency_ms"]["focus"]["median"] > 0
    assert (tmp_path / "summary.png").read_bytes().startswith(b"\x89PNG")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(summary))
    text = console.export_text()
    assert "planned, canvas +8 px" in text and "1.0000 (4 matched, 0 missed, 0 extra)" in text
    assert "objects for the next frame" in text and "largest raw difference" not in text


@given(seed=st.integers(0, 10**6), low=st.floats(0.0, 0.5), high=st.floats(0.5, 1.0), limit=st.integers(1, 12))
def test_one_suppression_serves_two_confidences(seed, low, high, limit):
    """Boxes of lower scores suppress none of higher ones: what is shown is what a suppression of its own would show."""
    rng = np.random.default_rng(seed)
    tensor = np.concatenate((rng.uniform(0, 40, (1, 4, 30)), rng.uniform(0, 1, (1, 2, 30))), 1).astype(np.float32)
    layout = HeadLayout("detect", 2)
    found = decode(tensor, layout, (64, 64), confidence=low, iou=0.4, limit=limit)
    shown = found.select(np.flatnonzero(found.scores > high))
    alone = decode(tensor, layout, (64, 64), confidence=high, iou=0.4, limit=limit)
    assert np.array_equal(shown.boxes, alone.boxes) and np.array_equal(shown.scores, alone.scores)
