"""Stages that overlap do what stages in turns do: same records, same order, same files, the same error."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import fields

import av
import numpy as np
import pytest

from fluxshard.errors import FluxShardError, VideoError
from fluxshard.pipeline.overlap.run_overlapped import LIVE, NEWEST, Overlap, run_overlapped
from fluxshard.pipeline.run_video import run_video
from fluxshard.pipeline.sinks.annotated_film import AnnotatedFilm
from fluxshard.pipeline.sinks.json_lines import JsonLines, read_records
from fluxshard.testing.fake_session import YOLO_LIKE, FakeSession
from tests.unit.pipeline.frame_loop import PICTURE, frames
from tests.unit.pipeline.overlap.stages import DEADLINE_S, Film, Gap, Sink, loop_of, threads

TIMES = ("incremental_ms", "decode_ms", "focus_ms", "source_ms", "age_ms")


def settled(condition):
    """Waits until something holds, and then a moment longer, in which it might stop to."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    return condition()


def untimed(record):
    return {f.name: getattr(record, f.name) for f in fields(record) if f.name not in TIMES}


@pytest.fixture(autouse=True)
def no_leaks():
    yield
    assert threads() == []


def test_records_and_lines_are_those_of_a_run_in_turns(tmp_path):
    kept, lines_of = [], []
    for name, run in (("turns", run_video), ("overlapped", run_overlapped)):
        session = FakeSession(drift=1.5, step=(1, 2))
        with JsonLines(tmp_path / f"{name}.jsonl", YOLO_LIKE.names) as lines:
            kept.append([untimed(record) for record in run(frames(7), loop_of(session), (lines,))])
        lines_of.append([untimed(record) for record in read_records(tmp_path / f"{name}.jsonl")])
    assert kept[0] == kept[1] and len(kept[0]) == 7
    assert lines_of[0] == lines_of[1] and len(lines_of[0]) == 7


@pytest.mark.parametrize("overlap", [None, LIVE, Overlap(ahead=5, behind=1), Overlap(ahead=1, behind=7)])
def test_order_is_kept_and_every_stage_has_a_thread(overlap):
    sinks = Sink(), Sink()
    records = list(run_overlapped(Film(12), loop_of(FakeSession()), sinks, overlap=overlap))
    assert [record.frame for record in records] == list(range(12))
    assert all(sink.prepared == sink.written == list(range(12)) for sink in sinks)
    assert sinks[0].threads == {"fluxshard-write_0"}


def test_a_frame_is_in_all_sinks_before_its_record_is_there():
    sinks = Sink(), Sink()
    for record in run_overlapped(Film(6), loop_of(FakeSession()), sinks):
        assert all(record.frame in sink.written for sink in sinks)


def test_what_reads_by_itself_is_taken_when_it_is_run():
    """Each frame is the newest when its turn comes: none has been taken before the one before it has run."""
    taken, ran = [], []

    class Noting(FakeSession):
        def run(self, image, motion=None):
            ran.append(len(taken))
            return super().run(image, motion)

    def reading():
        for frame in frames(6):
            taken.append(frame.index)
            yield frame

    sink = Sink()
    records = list(run_overlapped(reading(), loop_of(Noting()), (sink,), overlap=NEWEST))
    assert [record.frame for record in records] == sink.written == list(range(6))
    assert ran == list(range(1, 7))


@pytest.mark.parametrize("overlap", [Overlap(ahead=1, behind=1), Overlap(ahead=2, behind=3)])
def test_a_slow_sink_holds_up_all_stages(overlap):
    film, sink, session = Film(40), Sink(), FakeSession()
    sink.gate.clear()
    run = run_overlapped(film, loop_of(session), (sink,), overlap=overlap)
    records = []
    taking = threading.Thread(target=lambda: records.extend(run))
    taking.start()
    # one is being written and `behind` wait, and main has one that it cannot hand on
    assert settled(lambda: len(session.seen) == overlap.behind + 1)
    assert film.read <= overlap.behind + 1 + overlap.ahead and sink.written == []
    sink.gate.set()
    taking.join(DEADLINE_S)
    assert [record.frame for record in records] == list(range(40))


def test_a_slow_consumer_holds_up_the_video():
    film = Film(40)
    run = run_overlapped(film, loop_of(FakeSession()), (Sink(),), overlap=Overlap(ahead=2, behind=1))
    next(run)
    assert settled(lambda: film.read <= 5)
    run.close()


@pytest.mark.parametrize(
    ("film", "session", "sink", "error", "written"),
    [
        (Film(9, damaged_at=4), FakeSession(), Sink(), VideoError, 4),
        (Film(9), FakeSession(fail_at=3), Sink(), FluxShardError, 3),
        (Film(9), FakeSession(), Sink(fail_at=5), OSError, 5),
        (Film(9), FakeSession(), Sink(unprepared_at=2), OSError, 2),
        (Film(9, damaged_at=0), FakeSession(), Sink(), VideoError, 0),
        (Film(9), FakeSession(), Sink(fail_at=0), OSError, 0),
        (Film(9), FakeSession(), Sink(fail_at=8), OSError, 8),
    ],
)
def test_an_error_of_any_stage_comes_after_the_frames_before_it(film, session, sink, error, written):
    records = []
    with pytest.raises(error):
        for record in run_overlapped(film, loop_of(session), (sink,)):
            records.append(record)
    assert [record.frame for record in records] == sink.written == list(range(written))
    assert threads() == []


def test_of_several_errors_that_of_the_earliest_frame_is_raised():
    sink = Sink(fail_at=2)
    sink.gate.clear()

    class Opening(FakeSession):
        """Lets the sink go on, and fail, when the network has failed."""

        def run(self, image, motion=None):
            try:
                return super().run(image, motion)
            except FluxShardError:
                sink.gate.set()
                raise

    run = run_overlapped(Film(9), loop_of(Opening(fail_at=4)), (sink,), overlap=Overlap(ahead=2, behind=6))
    with pytest.raises(OSError, match="no space left at frame 2"):
        list(run)
    assert sink.written == [0, 1]


def test_an_early_end_keeps_what_has_run():
    session, sink, film = FakeSession(), Sink(), Film(400)
    records = list(run_overlapped(film, loop_of(session), (sink,), stop=lambda: len(session.seen) == 6))
    assert [record.frame for record in records] == sink.written == list(range(6))
    assert len(session.seen) == 6 and film.read <= 6 + 2 + 1


def test_an_interrupt_keeps_what_has_run():
    class Interrupted(FakeSession):
        def run(self, image, motion=None):
            if len(self.seen) == 4:
                raise KeyboardInterrupt
            return super().run(image, motion)

    sink, records = Sink(), []
    with pytest.raises(KeyboardInterrupt):
        for record in run_overlapped(Film(9), loop_of(Interrupted()), (sink,)):
            records.append(record)
    assert [record.frame for record in records] == sink.written == [0, 1, 2, 3]


def test_whoever_goes_away_leaves_no_thread():
    sink = Sink()
    run = run_overlapped(Film(50), loop_of(FakeSession()), (sink,))
    assert next(run).frame == 0
    run.close()
    assert threads() == []
    written = list(sink.written)
    assert settled(lambda: sink.written == written) and written == list(range(len(written)))


@pytest.mark.parametrize("overlap", [LIVE, NEWEST, Overlap()])
def test_a_sink_that_fails_in_a_gap_of_the_video_ends_the_run(overlap):
    sink = Sink(fail_at=0)
    sink.gate.clear()
    gap = Gap(1, reached=threading.Timer(0.2, sink.gate.set).start)  # by then the run waits for a frame
    with pytest.raises(OSError, match="no space left at frame 0"):
        list(run_overlapped(gap, loop_of(FakeSession()), (sink,), overlap=overlap, interrupt=gap.interrupt))
    assert gap.waited


def test_nobody_waits_for_a_frame_that_is_not_run():
    for session, error in ((FakeSession(fail_at=0), FluxShardError), (FakeSession(), None)):
        gap = Gap(3)
        run = run_overlapped(gap, loop_of(session), (Sink(),), overlap=LIVE, interrupt=gap.interrupt)
        with contextlib.nullcontext() if error is None else pytest.raises(error):
            assert next(run).frame == 0
        run.close()
        assert gap.waited is not False and gap.ended.is_set() and threads() == []


def test_work_maps_are_those_of_their_frames():
    class Moving(FakeSession):
        def work_map(self):
            return np.full((8, 12), len(self.seen), np.float32)

    sink, unasked = Sink(shows_work=True), Sink()
    list(run_overlapped(Film(6), loop_of(Moving()), (sink, unasked)))
    assert [int(work[0, 0]) for work in sink.maps] == [1, 2, 3, 4, 5, 6]

    class Never(FakeSession):
        def work_map(self):
            raise AssertionError("computing the map takes long")

    list(run_overlapped(Film(3), loop_of(Never()), (unasked,)))


def test_files_end_with_the_same_frame(tmp_path):
    """The engine fails at frame 5: film and lines hold frames 0 to 4."""
    with (
        pytest.raises(FluxShardError, match="stumbled"),
        AnnotatedFilm(tmp_path / "film.mp4", PICTURE, 25.0, show_work=True) as film,
        JsonLines(tmp_path / "frames.jsonl") as lines,
    ):
        list(run_overlapped(frames(9), loop_of(FakeSession(fail_at=5)), (film, lines)))
    assert [record.frame for record in read_records(tmp_path / "frames.jsonl")] == [0, 1, 2, 3, 4]
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
