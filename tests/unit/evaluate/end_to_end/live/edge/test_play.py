"""Which frames count: after a warm-up, for whole periods, until enough were answered."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fluxshard.evaluate.end_to_end.live.edge.meeting as meeting_module
import fluxshard.evaluate.end_to_end.live.edge.play as play_module
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.end_to_end.live.answers import Answers
from fluxshard.evaluate.end_to_end.live.edge.busy import BusyTime
from fluxshard.evaluate.end_to_end.live.edge.meeting import Meeting
from fluxshard.evaluate.end_to_end.live.edge.play import Window, play
from fluxshard.evaluate.end_to_end.live.edge.stream import LiveStream
from fluxshard.evaluate.end_to_end.live.looped import LoopedClip
from fluxshard.models.detections.detections import Detections
from fluxshard.motion import MotionField
from fluxshard.runtime.stats import FrameStats
from fluxshard.video import Frame
from fluxshard.video.letterbox import Letterbox

SIZE = (32, 48)
CLIP = LoopedClip(name="clip", letterbox=Letterbox(SIZE, SIZE), pictures=tuple(Path(str(i)) for i in range(3)))
FOUND = Detections(
    np.array([[0, 0, 8, 8]], np.float32), np.array([0.9], np.float32), np.array([0], np.int64), SIZE, None, None
)


@dataclass
class Loop:
    """A loop whose frames take 100 ms, 25 of them the edge's; every second one is not answered where that is wanted."""

    clock: Clock
    busy: BusyTime = field(default_factory=BusyTime)
    silent: bool = False
    motions: list[object] = field(default_factory=list)

    def step(self, image: object, motion: object, frame: Frame) -> Any:
        self.motions.append(motion)
        self.clock.now += 0.1
        self.busy.add(25.0)
        answered = not self.silent or len(self.motions) % 2 == 0
        stats = FrameStats(
            frame=0, keyframe=False, recompute_ratio=0.1, compute_ratio=0.5 if answered else math.nan, tx_ratio=0.0,
            latency_ms=100.0, edge_pre_ms=10.0, server_pre_ms=5.0, transmission_ms=40.0, inference_ms=30.0, post_ms=1.0,
            overhead_ms=0.0, motion_source="none", placement="cloud", bytes_sent=7, layers_executed=0,
        )  # fmt: skip
        placement = {"answered_by": "cloud" if answered else "none", "bytes_sent": 7, "hedged": False}
        return SimpleNamespace(
            found=FOUND if answered else None, stats=stats, placement=placement, run_ms=100.0, decode_ms=0.0
        )


@dataclass
class Clock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(play_module, "time", clock)
    monkeypatch.setattr(meeting_module, "time", clock)
    return clock


def frames(clock: Clock, count: int = 1000) -> Iterator[Frame]:
    for index in range(count):
        pixels = np.zeros((*SIZE, 3), np.uint8)
        motion = MotionField.uniform(*SIZE, 0, 8)
        yield Frame(
            motion, 3 * index, index / 10, "encoder", Letterbox(SIZE, SIZE), pixels, pixels, captured_s=clock.now - 0.01
        )


def played(
    clock: Clock,
    loop: Loop,
    *,
    moves: bool = True,
    linked: bool = True,
    count: int = 1000,
    meter: Any = None,
    meeting: Meeting | None = None,
    **changes: Any,
) -> Answers:
    window = Window(**({"frames": 15, "seconds": 1.0, "warm_s": 0.45, "most_s": 30.0} | changes))
    stream = LiveStream(loop=loop, before=lambda: None, linked=lambda: linked, busy=loop.busy)  # type: ignore[arg-type]
    meeting = Meeting(Path("nowhere")) if meeting is None else meeting
    return play(CLIP, frames(clock, count), stream, window, "any", moves=moves, meeting=meeting, meter=meter)


def test_frames_count_after_the_warm_up_for_whole_periods(clock: Clock) -> None:
    found = played(clock, Loop(clock))
    columns = found.columns
    # the first counted frame is the sixth: 0.5 s have passed; 15 of them are not reached in one second, but in two
    assert columns["captured"].tolist() == [3 * index for index in range(5, 25)]
    assert found.watched_ms == pytest.approx(2000)
    assert columns["picture"].tolist()[:5] == [1, 2, 1, 0, 1]  # of three pictures, forwards and backwards
    assert columns["start_ms"].tolist() == pytest.approx([100.0 * index for index in range(20)])
    assert columns["captured_ms"][0] == pytest.approx(-10)
    assert columns["latency_ms"].tolist() == [100] * 20 and columns["after_ms"].tolist() == [15] * 20
    assert columns["busy_ms"].tolist() == [25] * 20 and math.isnan(found.metered_mj)
    assert len(found.trace.frames) == 20 and all(len(one.objects) == 1 for one in found.trace.frames)


@pytest.mark.parametrize("fails", [False, True])
def test_energy_is_metered_while_frames_count(clock: Clock, fails: bool) -> None:
    """The meter's machine takes 5 W; a meter that fails once says nothing."""
    meter = SimpleNamespace(read_mj=lambda: None if fails and clock.now > 1001 else 5e3 * (clock.now - 1000))
    found = played(clock, Loop(clock), meter=meter)
    assert math.isnan(found.metered_mj) if fails else found.metered_mj == pytest.approx(10_000)


def test_unanswered_frames_are_rows_and_count_for_nothing(clock: Clock) -> None:
    found = played(clock, Loop(clock, silent=True), frames=10)
    assert len(found.columns["answered"]) == 20 and found.columns["answered"].sum() == 10
    assert [len(one.objects) for one in found.trace.frames][:4] == [1, 0, 1, 0]
    assert set(found.columns["compute"]) == {0.5, 0.0} and found.columns["sent_bytes"].sum() == 140


@pytest.mark.parametrize(
    ("ready", "enough", "first", "count"),
    [
        (1000.0, 1001.4, 5, 10),  # the other edge was there before
        (1001.97, 1003.3, 20, 20),  # it comes later, and counting goes on until it has enough
        (1001.97, 1002.0, 20, 20),  # it has had enough before
        (1001.97, 1004.1, 20, 30),
    ],
)
def test_edges_count_for_as_many_seconds(
    clock: Clock, tmp_path: Path, ready: float, enough: float, first: int, count: int
) -> None:
    """All periods begin with the last edge's arrival, and all end together; this one has its frames after 0.4 s."""
    other = SeenAt(clock, tmp_path, {"ready": ready, "enough": enough})
    found = played(clock, Loop(clock), meeting=other, frames=4 if ready == 1000.0 else 15)
    assert found.columns["captured"][0] == 3 * first
    assert len(found.columns["captured"]) == count


class SeenAt(Meeting):
    """Of two edges, where the other one arrives at points at times."""

    def __init__(self, clock: Clock, folder: Path, times: dict[str, float]) -> None:
        super().__init__(folder, 0, 2)
        self._clock, self._folder, self._due = clock, folder, times

    def latest(self, point: str) -> float | None:
        if self._due[point] <= self._clock.now:
            (self._folder / f"{point}-1").write_text(repr(self._due[point]))
        return super().latest(point)


@pytest.mark.parametrize("moves", [True, False])
def test_motion_is_left_out_where_a_method_knows_none(clock: Clock, moves: bool) -> None:
    loop = Loop(clock)
    played(clock, loop, moves=moves)
    assert all((motion is not None) == moves for motion in loop.motions)


def test_an_end_before_enough(clock: Clock) -> None:
    found = played(clock, Loop(clock), frames=1000, most_s=3.05)
    assert len(found.columns["answered"]) == 26  # frames that began within 3 s, without 5 of the warm-up
    with pytest.raises(EvaluationError, match="ended before enough"):
        played(clock, Loop(clock), count=10)
    with pytest.raises(EvaluationError, match="the server was not there"):
        played(clock, Loop(clock), linked=False, most_s=3.0)
