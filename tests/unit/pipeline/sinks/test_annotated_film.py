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
from fluxshard.pipeline.sinks.annotated_film import AnnotatedFilm, annotate
from fluxshard.pipeline.sinks.json_lines import JsonLines, read_records
from fluxshard.pipeline.sinks.sink import FrameView
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.testing.fake_session import YOLO_LIKE, FakeSession
from fluxshard.video import Frame, Letterbox
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


def test_boxes_are_drawn_where_something_was_found():
    plain = annotate(RECORD, view())
    assert (plain == 60).all() and plain.shape == (*PICTURE, 3)
    drawn = annotate(RECORD, view(FOUND), names=("cat", "dog"))
    changed = np.argwhere((drawn != plain).any(-1))
    assert len(changed) and changed.min(0).tolist() >= [10, 38] and changed.max(0)[0] <= 92


def test_the_strip_is_below_the_picture_which_stays_as_it_was(tmp_path):
    with AnnotatedFilm(tmp_path / "film.mp4", PICTURE, 25.0) as film:
        page = film.draw(RECORD, view())
        inside = film.picture_in(page)
    assert (inside == 60).all() and inside.shape == (*PICTURE, 3) and page.shape[0] > PICTURE[0]
    assert page.shape[1] / page.shape[0] == pytest.approx(PICTURE[1] / PICTURE[0], abs=0.01)  # bars beside it
    assert (page == 60).all(-1).sum() == PICTURE[0] * PICTURE[1]
    assert len(np.unique(page[PICTURE[0] :].reshape(-1, 3), axis=0)) > 8  # text on a ground


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96), (48, 64), (64, 1200), (1200, 64)])
def test_films_of_any_size_have_a_strip(tmp_path, size):
    letterbox = Letterbox(size, (64, 64))
    picture = np.full((*size, 3), 60, np.uint8)
    frame = Frame(None, 0, 0.0, "none", letterbox, picture, letterbox.place(picture))
    seen = FrameView(frame=frame, found=None, outputs=None, work_map=lambda: np.ones((8, 8), np.float32))
    with AnnotatedFilm(tmp_path / "film.mp4", size, 25.0, show_work=True) as film:
        film.write(RECORD, seen)
    (shown,) = pictures_in(tmp_path / "film.mp4")
    assert shown.shape[0] > size[0] and shown.shape[1] >= size[1]
    assert shown.shape[1] / shown.shape[0] == pytest.approx(size[1] / size[0], abs=2 / size[0])


def test_work_is_tinted_only_when_asked_for():
    def never():
        raise AssertionError("computing the map takes long")

    (frame,) = frames(1)
    unasked = FrameView(frame=frame, found=None, outputs=None, work_map=never)
    assert (annotate(RECORD, unasked) == 60).all()
    work = np.zeros((8, 12), np.float32)
    work[2, 3] = 1.0
    tinted = (annotate(RECORD, view(work=work), show_work=True) != 60).any(-1)
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
    assert len(pictures) == 5 and pictures[0].shape[0] > PICTURE[0]
    drawn = annotate(RECORD, view(FOUND), names=("cat", "dog"))
    assert np.abs(film.picture_in(pictures[4]).astype(int) - drawn).mean() < 6


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
