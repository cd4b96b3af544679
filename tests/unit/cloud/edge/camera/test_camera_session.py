"""A server watches a video: its answers are those of a session in one place, whatever is lost on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

import fluxshard
from fluxshard import video
from fluxshard.cloud.edge.camera.camera_session import CameraSession
from fluxshard.cloud.edge.camera.options import WatchOptions
from fluxshard.cloud.edge.connection.link import LinkOptions
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.server.served_model import Catalogue
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.messages import read_up
from fluxshard.errors import OptionError, ShapeError, StateError, VideoError, WireError
from fluxshard.models.detections.detections import Detections
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.testing import panning, write_clip
from fluxshard.testing.networks import bright_model
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from fluxshard.testing.offload.watching import Watched, in_one_place, watched
from fluxshard.video.live.background import NewestFrames
from fluxshard.video.live.paced import PacedFrames

SIZE = (64, 96)
REUSES = {
    "planned": ReuseOptions(policy="planned", planned=PlannedOptions(tau=0.05, small_px=0), scene_cut=1.0),
    "propagated": ReuseOptions(tau_input=0.1, tau=0.1, scene_cut=1.0),
}
OPTIONS = {"preset": "veryfast", "crf": "18", "x264-params": "bframes=0:keyint=10:min-keyint=10:scenecut=0"}


@pytest.fixture(scope="module")
def model() -> Watched:
    return watched(bright_model(), SIZE)


@pytest.fixture
def server(model: Watched) -> Iterator[StreamServer]:
    made = StreamServer(Catalogue([model.served]))
    yield made
    made.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, panning((128, 192), (0, 16), 40), options=OPTIONS)


class Played:
    """Frames of a video, what a server answered, and why."""

    def __init__(self) -> None:
        self.frames: list[video.Frame] = []
        self.answers: list[Any] = []
        self.records: list[PlacementRecord] = []

    def run(self, camera: CameraSession, frame: video.Frame) -> None:
        self.frames.append(frame)
        self.answers.append(camera.run(frame))
        self.records.append(camera.record)

    @property
    def answered(self) -> list[int]:
        return [record.frame for record in self.records if record.answered_by == "cloud"]


def options(**given: Any) -> WatchOptions:
    return WatchOptions(**{"reuse": REUSES["planned"], "stream": "test", **given})


def play(
    source: video.VideoSource, transport: InProcessTransport, given: WatchOptions, model: Watched | None = None,
    before: Callable[[int, CameraSession], None] = lambda _, __: None,
) -> Played:  # fmt: skip
    played = Played()
    with fluxshard.watch(source, transport, given, model=None if model is None else model.compiled) as camera:
        for frame in source:
            before(len(played.frames), camera)
            played.run(camera, frame)
    return played


def assert_equals_one_place(model: Watched, played: Played, given: WatchOptions) -> None:
    expected = in_one_place(model, given.reuse, played.frames, played.records)
    for answer, record, (outputs, found) in zip(played.answers, played.records, expected, strict=True):
        assert (answer is None) == (record.answered_by == "none")
        if answer is None:
            assert record.cloud_open or record.cloud_outcome not in ("", "answered")
        elif given.answer == "outputs":
            assert all(torch.equal(a, b) for a, b in zip(tree_leaves(answer), tree_leaves(outputs), strict=True))
        else:
            assert found is not None
            assert_same(answer, found.select(np.flatnonzero(found.scores > given.confidence)))


def assert_same(answer: Detections, expected: Detections) -> None:
    assert answer.shape == expected.shape
    for name in ("boxes", "scores", "classes"):
        assert np.array_equal(getattr(answer, name), getattr(expected, name))


@pytest.mark.parametrize("answer", ["outputs", "detections"])
@pytest.mark.parametrize("name", REUSES)
def test_answers_are_those_of_a_session_in_one_place(
    model: Watched, server: StreamServer, clip: Path, name: str, answer: str
) -> None:
    given = options(reuse=REUSES[name], answer=answer)
    with video.open(clip, size=SIZE, packets=True) as source:
        played = play(source, InProcessTransport(server), given, model if answer == "outputs" else None)
    assert played.answered == list(range(40))
    assert_equals_one_place(model, played, given)
    ratios = [record.server["compute_ratio"] for record in played.records if record.server is not None]
    assert ratios[0] == 1 and 0 < min(ratios) < 0.9
    if answer == "detections":
        assert sum(len(found) for found in played.answers) > 40
    assert server.connected == 0 and server.cached_bytes == 0


def test_motion_is_followed_over_frames_that_nobody_runs(model: Watched, server: StreamServer, clip: Path) -> None:
    given = options(answer="outputs")
    with video.open(clip, size=SIZE, packets=True, stride=3) as source:
        played = play(source, InProcessTransport(server), given, model)
    assert played.answered == list(range(14)) and len(played.frames[1].packets) == 3
    assert_equals_one_place(model, played, given)


def test_a_video_without_packets_of_its_own_is_encoded(model: Watched, server: StreamServer, clip: Path) -> None:
    given = options(answer="outputs")
    with video.open(clip, size=SIZE, packets=True, vectors="encode") as source:
        assert source.packet_stream is not None and source.packet_stream.encoded_here
        played = play(source, InProcessTransport(server), given, model)
    assert played.answered == list(range(40)) and played.frames[1].motion is not None
    assert_equals_one_place(model, played, given)


def test_only_packets_go_up(model: Watched, server: StreamServer, clip: Path) -> None:
    seen = []

    def edit(data: bytes) -> bytes:
        seen.append(read_up(data))
        return data

    with video.open(clip, size=SIZE, packets=True, vectors="none", max_frames=12) as source:
        played = play(source, InProcessTransport(server, faults=Faults(edit=edit)), options())
    frames = [message.frame for message in seen if message.WhichOneof("kind") == "frame"]
    assert len(frames) == 12
    assert not any(frame.motion or frame.masks or frame.payload_bytes or frame.keyframe for frame in frames)
    sent = b"".join(message.packet.data for message in seen if message.WhichOneof("kind") == "packet")
    assert sent == b"".join(packet.data for frame in played.frames for packet in frame.packets)
    hello = seen[0].hello
    assert hello.server_plans and (hello.plan, hello.weights) == ("", "")
    assert (hello.image_height, hello.image_width) == SIZE


def losing(wanted: Callable[[int], bool]) -> Callable[[bytes], bytes | None]:
    """Loses the packets of these numbers."""

    def edit(data: bytes) -> bytes | None:
        message = read_up(data)
        lost = message.WhichOneof("kind") == "packet" and wanted(message.packet.number)
        return None if lost else data

    return edit


def test_a_missing_packet_is_never_concealed(model: Watched, server: StreamServer, clip: Path) -> None:
    """The frame without its packet waits for it until the next ones come: so a deadline."""
    given = options(answer="outputs", deadline_ms=2000, link=LinkOptions(silence_s=30))
    faults = Faults(edit=losing(lambda number: number == 13))
    with video.open(clip, size=SIZE, packets=True) as source:
        played = play(source, InProcessTransport(server, faults=faults), given, model)
    assert played.answered[-20:] == list(range(20, 40)) and not set(played.answered) & set(range(13, 20))
    assert played.records[13].cloud_outcome == "late"
    assert {played.records[index].cloud_open for index in range(15, 20)} == {"the video has to reach a keyframe"}
    assert_equals_one_place(model, played, given)
    key = played.records[20].server
    assert key is not None and key["compute_ratio"] == 1


def test_a_damaged_packet_restarts_video_and_features(model: Watched, server: StreamServer, clip: Path) -> None:
    def edit(data: bytes) -> bytes:
        message = read_up(data)
        if message.WhichOneof("kind") == "packet" and message.packet.number == 5:
            message.packet.data = bytes(len(message.packet.data))
            return message.SerializeToString()
        return data

    given = options(answer="outputs")
    with video.open(clip, size=SIZE, packets=True) as source:
        played = play(source, InProcessTransport(server, faults=Faults(edit=edit)), given, model)
    assert played.records[5].cloud_outcome == "key needed" and "video" in played.records[5].cloud_reason
    assert played.answered == [*range(5), *range(10, 40)]
    assert_equals_one_place(model, played, given)


def test_a_server_that_is_lost_comes_back_at_a_keyframe(model: Watched, server: StreamServer, clip: Path) -> None:
    other = StreamServer(Catalogue([model.served]))
    transport = InProcessTransport(server)

    def before(index: int, camera: CameraSession) -> None:
        if index == 12:
            transport.faults.lost = True
            until = time.monotonic() + 5
            while camera.link.is_open and time.monotonic() < until:
                time.sleep(0.01)
        if index == 17:
            transport._server, transport.faults.lost = other, False
            until = time.monotonic() + 10
            while not camera.link.is_open and time.monotonic() < until:
                time.sleep(0.01)

    given = options(answer="outputs")
    with video.open(clip, size=SIZE, packets=True) as source:
        played = play(source, transport, given, model, before)
    other.close()
    assert played.answered == [*range(12), *range(20, 40)]
    assert {played.records[index].cloud_open for index in range(12, 17)} <= {"the link was lost", "the link is down"}
    assert {played.records[index].cloud_open for index in range(17, 20)} == {"the video has to reach a keyframe"}
    assert_equals_one_place(model, played, given)


def test_a_link_that_is_lost_under_a_frame_leaves_it_unanswered(
    model: Watched, server: StreamServer, clip: Path
) -> None:
    transport = InProcessTransport(server)

    def edit(data: bytes) -> bytes:
        message = read_up(data)
        if message.WhichOneof("kind") == "frame" and message.frame.seq == 4:
            transport.faults.lost = True
        return data

    transport.faults.edit = edit
    with video.open(clip, size=SIZE, packets=True, max_frames=5) as source:
        played = play(source, transport, options())
    assert played.answered == [0, 1, 2]
    assert (played.records[3].cloud_outcome, played.records[3].cloud_reason) == ("lost", "the link was lost")


def test_a_reset_is_a_keyframe(model: Watched, server: StreamServer, clip: Path) -> None:
    def before(index: int, camera: CameraSession) -> None:
        if index == 5:
            camera.reset()

    given = options(answer="outputs")
    with video.open(clip, size=SIZE, packets=True, max_frames=9) as source:
        played = play(source, InProcessTransport(server), given, model, before)
    assert [record.frame for record in played.records if record.cloud_keyframe] == [5]
    assert_equals_one_place(model, played, given)


def test_two_streams_know_nothing_of_each_other(
    model: Watched, server: StreamServer, clip: Path, tmp_path: Path
) -> None:
    second = write_clip(tmp_path / "other.mp4", panning((96, 144), (2, -6), 40, seed=3), options=OPTIONS)
    played = [Played(), Played()]
    with ExitStack() as stack:
        sources = [stack.enter_context(video.open(path, size=SIZE, packets=True)) for path in (clip, second)]
        cameras = [
            stack.enter_context(
                fluxshard.watch(
                    source, InProcessTransport(server), options(answer="outputs", stream=name), model=model.compiled
                )
            )
            for source, name in zip(sources, ("one", "two"), strict=True)
        ]
        for frames in zip(*sources, strict=True):
            for part, camera, frame in zip(played, cameras, frames, strict=True):
                part.run(camera, frame)
    for part in played:
        assert part.answered == list(range(40))
        assert_equals_one_place(model, part, options(answer="outputs"))


def test_a_deadline_leaves_frames_unanswered_and_the_video_whole(
    model: Watched, server: StreamServer, clip: Path
) -> None:
    transport = InProcessTransport(server)

    def before(index: int, _: CameraSession) -> None:
        transport.faults.delay_s = 0.5 if 8 <= index < 12 else 0.0

    given = options(answer="outputs", deadline_ms=400)
    with video.open(clip, size=SIZE, packets=True) as source:
        # the decoder's process takes its time to start
        played = play(source, transport, given, model, before)
    late = [record.frame for record in played.records if record.cloud_outcome == "late"]
    assert late and all(played.answers[index] is None for index in late)
    assert not any(record.cloud_reason for record in played.records)  # no packet was left out
    assert len(played.answered) > 20
    assert_equals_one_place(model, played, given)


def test_the_newest_frame_wins(model: Watched, server: StreamServer, clip: Path) -> None:
    given, played = options(answer="outputs"), Played()
    transport = InProcessTransport(server, faults=Faults(delay_s=0.05))
    with (
        video.open(clip, size=SIZE, packets=True) as source,
        fluxshard.watch(source, transport, given, model=model.compiled) as camera,
        NewestFrames(PacedFrames(source)) as frames,
    ):
        for frame in frames:
            played.run(camera, frame)
        dropped = frames.dropped
    assert dropped > 5 and len(played.frames) + dropped == 40
    assert played.answered == list(range(len(played.frames)))
    assert_equals_one_place(model, played, given)


def test_statistics_are_the_servers(model: Watched, server: StreamServer, clip: Path) -> None:
    with (
        video.open(clip, size=SIZE, packets=True, max_frames=3) as source,
        fluxshard.watch(source, InProcessTransport(server), options()) as camera,
    ):
        with pytest.raises(StateError, match="no frame"):
            _ = camera.stats
        with pytest.raises(StateError, match="no frame"):
            _ = camera.record
        for index, frame in enumerate(source):
            camera.run(frame)
            stats, record = camera.stats, camera.record
            assert (stats.frame, stats.keyframe, stats.placement) == (index, index == 0, "cloud")
            assert record.server is not None and stats.compute_ratio == record.server["compute_ratio"]
            parts = (
                stats.edge_pre_ms, stats.server_pre_ms, stats.transmission_ms, stats.inference_ms, stats.post_ms,
            )  # fmt: skip
            assert sum(parts) == pytest.approx(stats.latency_ms) and stats.bytes_sent == record.bytes_sent > 0
        assert (camera.origin, camera.planned) == ((0, 0), None)
        camera.focus(np.zeros((8, 12), np.uint8))
        with pytest.raises(StateError, match="does not tell"):
            camera.work_map()
    with pytest.raises(StateError, match="closed"):
        camera.run(frame)


def test_without_a_server_frames_go_unanswered(clip: Path, server: StreamServer) -> None:
    transport = InProcessTransport(server, faults=Faults(refuse=True))
    with (
        video.open(clip, size=SIZE, packets=True, max_frames=2) as source,
        fluxshard.watch(source, transport, options(first_wait_s=0.2)) as camera,
    ):
        for frame in source:
            assert camera.run(frame) is None
            assert camera.record.cloud_open == "the link is down" and camera.record.is_settled
            assert np.isnan(camera.stats.compute_ratio) and camera.stats.placement == "none"


def test_an_image_is_no_frame_and_nothing_is_waited_for(
    clip: Path, server: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(*_: object) -> None:
        raise AssertionError("the link is waited for")

    transport = InProcessTransport(server, faults=Faults(refuse=True))
    with (
        video.open(clip, size=SIZE, packets=True) as source,
        fluxshard.watch(source, transport, options()) as camera,
    ):
        monkeypatch.setattr(camera, "_wait", waits)
        with pytest.raises(ShapeError, match="frame is a Tensor; expected a frame of a video"):
            camera.run(next(source).image)  # type: ignore[arg-type]
        with pytest.raises(StateError, match="no frame yet"):
            _ = camera.record


def test_a_deadline_without_end_is_one(model: Watched, server: StreamServer, clip: Path) -> None:
    with (
        video.open(clip, size=SIZE, packets=True, max_frames=2) as source,
        fluxshard.watch(source, InProcessTransport(server), options(deadline_ms=1e10)) as camera,
    ):
        for frame in source:
            assert camera.run(frame) is not None and camera.record.answered_by == "cloud"


def test_videos_that_cannot_be_watched(clip: Path, server: StreamServer) -> None:
    transport = InProcessTransport(server)
    with video.open(clip, size=SIZE) as source, pytest.raises(OptionError, match="packets=True"):
        fluxshard.watch(source, transport)
    with video.open(clip, size=SIZE, packets=True) as source:
        with pytest.raises(OptionError, match="needs model="):
            fluxshard.watch(source, transport, options(answer="outputs"))
        with (
            fluxshard.watch(source, transport, options()) as camera,
            video.open(clip, size=SIZE) as other,
            pytest.raises(VideoError, match="packets"),
        ):
            camera.run(next(other))


def test_what_a_server_refuses_is_in_the_record(model: Watched, server: StreamServer, clip: Path) -> None:
    with (
        video.open(clip, size=(96, 96), packets=True, max_frames=1) as source,
        fluxshard.watch(source, InProcessTransport(server), options(first_wait_s=0.5)) as camera,
    ):
        assert camera.run(next(source)) is None
        assert camera.record.cloud_open == "this server runs no such model at this size of image"


def test_an_answer_that_cannot_be_read_is_none(model: Watched, server: StreamServer, clip: Path) -> None:
    def broken(_: bytes) -> Any:
        raise WireError("the detections are damaged")

    with (
        video.open(clip, size=SIZE, packets=True, max_frames=2) as source,
        fluxshard.watch(source, InProcessTransport(server), options()) as camera,
    ):
        camera._decode = broken
        for frame in source:
            assert camera.run(frame) is None
            record = camera.record
            assert (record.answered_by, record.cloud_ran) == ("none", True)
            assert record.cloud_reason == "the detections are damaged"
