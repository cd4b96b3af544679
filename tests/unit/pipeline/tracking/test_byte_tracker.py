"""Identities over the frames of a video."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fluxshard.errors import MissingExtraError, OptionError
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.draw import draw_detections
from fluxshard.models.drawing.colours import colour_of
from fluxshard.pipeline.json_values import detections_json
from fluxshard.pipeline.run_video import run_video
from fluxshard.pipeline.sinks.json_lines import JsonLines
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.pipeline.tracking.byte_tracker import ByteTracker
from fluxshard.testing.fake_session import FakeSession
from tests.unit.pipeline.frame_loop import IMAGE, frames

needs_trackers = pytest.mark.skipif(
    importlib.util.find_spec("trackers") is None, reason="trackers is not installed: pip install 'fluxshard[track]'"
)


def walking(frame: int, scores: tuple[float, float] = (0.9, 0.6)) -> Detections:
    """Two objects that pass each other, 4 px a frame, the better one first."""
    left, right = 10 + 4 * frame, 200 - 4 * frame
    boxes = np.array([[left, 20, left + 40, 80], [right, 90, right + 40, 150]], np.float32)
    order = np.argsort(-np.array(scores), kind="stable")
    classes = np.array([0, 3])
    return Detections(boxes, np.array(scores, np.float32), classes, (160, 256)).select(order)


@needs_trackers
def test_an_object_keeps_its_identity() -> None:
    track, seen = ByteTracker(0.25, fps=25), []
    for frame in range(12):
        found = track(walking(frame, (0.9, 0.6) if frame % 2 else (0.5, 0.8)))
        assert found.ids is not None and len(found.ids) == len(found) == 2 and found.ids.dtype == np.int64
        seen.append(dict(zip(found.classes.tolist(), found.ids.tolist(), strict=True)))
    assert seen[0] == {0: -1, 3: -1}  # new
    assert all(ids == seen[-1] for ids in seen[2:]) and len(set(seen[-1].values())) == 2 and min(seen[-1].values()) >= 0


@needs_trackers
def test_a_faint_one_is_the_same_and_starts_none() -> None:
    track = ByteTracker(0.25)
    for frame in range(4):
        found = track(walking(frame))
    known = dict(zip(found.classes.tolist(), found.ids.tolist(), strict=True))
    faint = track(walking(4, (0.9, 0.12)))
    assert dict(zip(faint.classes.tolist(), faint.ids.tolist(), strict=True)) == known
    fresh = ByteTracker(0.25)
    for frame in range(4):
        assert fresh(walking(frame, (0.2, 0.12))).ids.tolist() == [-1, -1]


@needs_trackers
def test_frames_without_objects_and_two_streams() -> None:
    one, other = ByteTracker(), ByteTracker()
    none = walking(0).select(np.array([], np.int64))
    assert one(none).ids.tolist() == []
    for frame in range(3):
        found = one(walking(frame))
    assert one(none).ids.tolist() == []
    assert one(walking(4)).ids.tolist() == found.ids.tolist()  # missed once
    assert other(walking(4)).ids.tolist() == [-1, -1]


@needs_trackers
def test_wrong_arguments() -> None:
    for wrong in ({"confidence": 2}, {"fps": 0}, {"fps": float("nan")}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            ByteTracker(**wrong)


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(MissingExtraError, match=r"needs the package trackers.*pip install 'fluxshard\[track\]'"):
        ByteTracker()


def test_identities_in_lines_and_colours() -> None:
    found = walking(0)
    tracked = Detections(found.boxes, found.scores, found.classes, found.shape, ids=np.array([5, -1]))
    assert [row["id"] for row in detections_json(tracked, ())] == [5, None]
    assert "id" not in detections_json(found, ())[0]
    picture = np.zeros((160, 256, 3), np.uint8)
    plain, drawn = draw_detections(picture, found), draw_detections(picture, tracked)
    corner = (50, 10)  # on the left edge of the first box
    assert tuple(plain[corner]) == colour_of(0) and tuple(drawn[corner]) == colour_of(5)
    other = (120, 200)
    assert tuple(plain[other]) == tuple(drawn[other]) == colour_of(3)


class Counting:
    """Numbers what it is shown, and keeps it."""

    def __init__(self) -> None:
        self.shown: list[Detections] = []

    def __call__(self, found: Detections) -> Detections:
        self.shown.append(found)
        return Detections(found.boxes, found.scores, found.classes, found.shape, ids=np.arange(len(found)) + 40)


def test_a_run_tracks_all_and_records_what_it_shows(tmp_path: Path) -> None:
    track = Counting()

    def detect(outputs: Any) -> Detections:
        boxes = np.array([[30, 20, 40, 30], [50, 20, 60, 30], [70, 20, 80, 30]], np.float32)
        return Detections(boxes, np.array([0.9, 0.5, 0.15], np.float32), np.array([0, 0, 0]), (96, 128))

    session = FakeSession()
    loop = StreamLoop(session=session, detect=detect, track=track)
    path = tmp_path / "frames.jsonl"
    with JsonLines(path) as lines:
        records = list(run_video(frames(3), loop, [lines], confidence=0.25))
    assert [record.detections for record in records] == [2, 2, 2]
    assert [len(found) for found in track.shown] == [3, 3, 3] and track.shown[0].shape == IMAGE
    origin = session.origin
    assert track.shown[0].boxes[0].tolist() == [30 - origin[1], 20 - origin[0], 40 - origin[1], 30 - origin[0]]
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [[row["id"] for row in line["detections"]] for line in written] == [[40, 41]] * 3
