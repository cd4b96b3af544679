"""The annotated film: what is drawn, and what is left after failures."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from fluxshard.errors import FluxShardError, VideoError
from fluxshard.models.detections.detections import Detections, Masks
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.run_video import run_video
from fluxshard.pipeline.sinks.annotated_film import AnnotatedFilm, annotate, caption
from fluxshard.pipeline.sinks.json_lines import JsonLines, read_records
from fluxshard.pipeline.sinks.sink import FrameView
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.testing.fake_session import YOLO_LIKE, FakeSession
from tests.unit.pipeline.frame_loop import PICTURE, frames, head_of

RECORD = FrameRecord(frame=3, time_s=0.12, stats={"compute_ratio": 0.25}, incremental_ms=12.5)
FOUND = Detections(
    np.array([[40, 40, 90, 90]], np.float32), np.array([0.5], np.float32), np.array([1]), PICTURE
)  # fmt: skip


def view(found=None, work=None):
    (frame,) = frames(1)
    return FrameView(frame=frame, found=found, outputs=torch.ones(1), work_map=lambda: work)


def pictures_in(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_caption_says_what_is_known():
    assert caption(RECORD) == "frame 3   ·   compute 25%   ·   12.5 ms"
    stats = {"compute_ratio": 1.0, "recompute_ratio": 0.5, "keyframe": True}
    record = FrameRecord(frame=0, time_s=None, stats=stats, incremental_ms=2.0, dense_ms=4.0)
    assert (
        caption(record) == "frame 0   ·   compute 100%   ·   pixels 50%   ·   2.0 ms (dense 4.0 ms)   ·   whole frame"
    )


def test_boxes_are_drawn_where_something_was_found():
    above = slice(0, 100)  # the caption is below
    plain = annotate(RECORD, view())
    assert (plain[above] == 60).all() and (plain[110:] != 60).any()
    drawn = annotate(RECORD, view(FOUND), names=("cat", "dog"))
    changed = np.argwhere((drawn != plain).any(-1))
    assert len(changed) and changed.min(0).tolist() >= [10, 38] and changed.max(0)[0] <= 92


def test_work_is_tinted_only_when_asked_for():
    def never():
        raise AssertionError("computing the map takes long")

    (frame,) = frames(1)
    unasked = FrameView(frame=frame, found=None, outputs=None, work_map=never)
    assert (annotate(RECORD, unasked)[:100] == 60).all()
    work = np.zeros((8, 12), np.float32)
    work[2, 3] = 1.0
    tinted = (annotate(RECORD, view(work=work), show_work=True)[:100] != 60).any(-1)
    assert tinted[32:48, 48:64].all() and tinted.sum() == 256  # 8 px of the image are 16 of the picture


def test_a_frame_is_drawn_first_and_encoded_when_that_is_asked_for(tmp_path):
    with AnnotatedFilm(tmp_path / "film.mp4", PICTURE, 25.0) as film:
        first, second = (film.prepare(RECORD, view(FOUND)) for _ in range(2))
        first()
        second()
        film.prepare(RECORD, view(FOUND))  # and never written
    assert len(pictures_in(tmp_path / "film.mp4")) == 2


def test_masks_of_a_view_are_computed_once():
    class Counting(Detections):
        counts = 0

        def mask(self, index):
            Counting.counts += 1
            return super().mask(index)

    masks = Masks(np.ones((1, 1), np.float32), np.ones((1, 6, 8), np.float32), (1 / 32, 1 / 32))
    found = Counting(FOUND.boxes, FOUND.scores, FOUND.classes, PICTURE, masks)
    seen = view(found)
    assert seen.masks is seen.masks and len(seen.masks) == Counting.counts == 1
    annotate(RECORD, seen)
    assert Counting.counts == 1
    assert view(FOUND).masks is None and view().masks is None


def test_the_film_has_every_frame(tmp_path):
    with AnnotatedFilm(tmp_path / "film.mp4", PICTURE, 25.0, names=YOLO_LIKE.names) as film:
        for _ in range(5):
            film.write(RECORD, view(FOUND))
    pictures = pictures_in(tmp_path / "film.mp4")
    assert len(pictures) == 5 and pictures[0].shape == (*PICTURE, 3)
    assert np.abs(pictures[4][:100].astype(int) - annotate(RECORD, view(FOUND), names=("cat", "dog"))[:100]).mean() < 6


def test_a_frame_that_fails_costs_none_of_those_before(tmp_path):
    """The engine fails at frame 3: both files hold frames 0 to 2."""
    loop = StreamLoop(session=FakeSession(fail_at=3), detect=head_of(YOLO_LIKE, 0.25))
    with (
        pytest.raises(FluxShardError, match="stumbled"),
        JsonLines(tmp_path / "frames.jsonl") as lines,
        AnnotatedFilm(tmp_path / "film.mp4", PICTURE, 25.0, show_work=True) as film,
    ):
        list(run_video(frames(6), loop, (lines, film)))
    assert [record.frame for record in read_records(tmp_path / "frames.jsonl")] == [0, 1, 2]
    assert len(pictures_in(tmp_path / "film.mp4")) == 3


def test_a_sink_that_fails_costs_the_others_nothing(tmp_path):
    class Broken:
        count = 0

        def write(self, record, view):
            self.count += 1
            if self.count == 3:
                raise OSError("no space left")

    loop = StreamLoop(session=FakeSession(), detect=head_of(YOLO_LIKE, 0.25))
    with (
        pytest.raises(OSError, match="no space left"),
        AnnotatedFilm(tmp_path / "film.mp4", PICTURE, 25.0) as film,
        JsonLines(tmp_path / "frames.jsonl") as lines,
    ):
        list(run_video(frames(6), loop, (film, lines, Broken())))
    assert len(read_records(tmp_path / "frames.jsonl")) == 3 == len(pictures_in(tmp_path / "film.mp4"))


def test_a_film_that_cannot_be_written_says_so_before_the_first_frame(tmp_path):
    with pytest.raises(VideoError, match="cannot be written"):
        AnnotatedFilm(tmp_path / "nowhere" / "film.mp4", PICTURE, 25.0)
