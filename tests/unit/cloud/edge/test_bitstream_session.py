"""The video's own packets go up: what the server decodes is what the edge sees, whatever is lost on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_leaves

from fluxshard import video
from fluxshard.cloud.decoding.fingerprint import decoder_fingerprint
from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions, ServerWork
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import LocalModel, VideoPackets
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.cloud.wire.messages import read_up
from fluxshard.errors import OptionError, StateError
from fluxshard.evaluate.offload.placement_replay import replay_placements
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.pipeline.sinks.line_file import LineFile
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing import panning, write_clip
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from fluxshard.testing.offload.two_places import Replay, server_of, small_model

SIZE = (64, 96)
REUSES = {
    "planned": ReuseOptions(
        policy="planned", planned=PlannedOptions(tau=0.1, tau_background=None, tau_small=None), scene_cut=1.0
    ),
    "propagated": ReuseOptions(tau_input=0.1, tau=0.1, scene_cut=1.0),
}
OPTIONS = {"preset": "veryfast", "crf": "18", "x264-params": "bframes=0:keyint=10:min-keyint=10:scenecut=0"}


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return small_model(SIZE)


@pytest.fixture
def server(model: LocalModel) -> Iterator[StreamServer]:
    made = server_of(model, decoder=decoder_fingerprint())
    yield made
    made.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, panning((128, 192), (0, 4), 50), options=OPTIONS)


def play(
    model: LocalModel, server: StreamServer, source: video.VideoSource, reuse: ReuseOptions, faults: Faults,
    margin_ms: float = 100.0, server_work: ServerWork = "auto", at: Callable[[int], None] = lambda _: None,
) -> tuple[list[video.Frame], list[object], list[PlacementRecord]]:  # fmt: skip
    assert source.packet_stream is not None
    frames, outputs, settled = [], [], []
    packets = VideoPackets(
        stream=source.packet_stream, request_keyframe=source.request_keyframe, decoder=decoder_fingerprint()
    )
    dispatch = DispatchOptions(margin_ms=margin_ms, second_look_s=0.0)  # a server that cannot win is kept warm, too
    options = OffloadOptions(payload="bitstream", stream="test", dispatch=dispatch, server_work=server_work)
    transport = InProcessTransport(server, faults=faults)
    with OffloadedSession(
        lambda _: model, reuse, transport, options, video=packets, on_settled=settled.append
    ) as session:
        for frame in source:
            at(len(frames))
            frames.append(frame)
            outputs.append(session.run(frame))
            until = time.monotonic() + 5
            while len(frames) == 1 and not session.link.is_open and time.monotonic() < until:
                time.sleep(0.01)
            if session.record.cloud_open == "a frame is under way":
                time.sleep(0.1)  # the decoder is starting
        welcome = session.link.welcome
    assert welcome is not None and welcome.same_decoder and welcome.same_compute
    return frames, outputs, settled


def assert_replays(
    model: LocalModel, reuse: ReuseOptions, frames: list[video.Frame], outputs: list[object],
    settled: list[PlacementRecord],
) -> None:  # fmt: skip
    assert len(settled) == len(frames)
    replay = Replay(model.program, reuse, SIZE, sparse_image=False)
    for frame, output, record in zip(frames, outputs, settled, strict=True):
        expected = replay.run(frame, record)
        assert all(torch.equal(a, b) for a, b in zip(tree_leaves(output), tree_leaves(expected), strict=True)), record


@pytest.mark.parametrize("vectors", ["auto", "encode"])
@pytest.mark.parametrize(("name", "server_work"), [("planned", "server"), ("planned", "edge"), ("propagated", "edge")])
def test_outputs_are_those_of_a_replay(
    model: LocalModel, server: StreamServer, clip: Path, name: str, server_work: ServerWork, vectors: str
) -> None:
    with video.open(clip, size=SIZE, packets=True, vectors=vectors) as source:  # type: ignore[arg-type]
        frames, outputs, settled = play(model, server, source, REUSES[name], Faults(), server_work=server_work)
    assert_replays(model, REUSES[name], frames, outputs, settled)
    ran = [record for record in settled if record.cloud_ran]
    assert len(ran) > 3
    assert any(record.server is not None and record.server["compute_ratio"] < 1 for record in ran)
    assert all(record.server_planned is (server_work == "server") for record in settled)


def test_a_server_that_plans_is_sent_the_video_and_nothing_else(
    model: LocalModel, server: StreamServer, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks and motion took 1 to 6 kB a frame, and an image test of the edge before anything went up."""
    heads: list[bytes] = []

    def edit(data: bytes) -> bytes:
        if read_up(data).WhichOneof("kind") == "frame":
            heads.append(data)
        return data

    def mirrored(*_: object, **__: object) -> None:
        raise AssertionError("the edge keeps no replica of the server's cache")

    monkeypatch.setattr("fluxshard.cloud.edge.offloaded_session.cloud_policy", mirrored)
    with video.open(clip, size=SIZE, packets=True) as source:
        _, _, settled = play(model, server, source, REUSES["planned"], Faults(edit=edit), margin_ms=10_000.0)
    away = [record for record in settled if record.answered_by == "cloud"]
    assert len(away) > 3 and heads and max(map(len, heads)) < 40
    assert all(not read_up(head).frame.motion and not read_up(head).frame.masks for head in heads)
    # what is expected to go up is known before: the packets; messages and heads take a few bytes more
    assert all(0 <= record.bytes_sent - record.inputs.upload_bytes < 200 for record in away)


def test_the_work_of_a_server_that_plans_is_guessed_from_what_it_said(
    model: LocalModel, server: StreamServer, clip: Path
) -> None:
    with video.open(clip, size=SIZE, packets=True) as source:
        _, _, settled = play(model, server, source, REUSES["planned"], Faults(), margin_ms=10_000.0)
    ran = [record for record in settled if record.cloud_ran]
    assert ran[0].cloud_work == 1.0 and ran[0].server is not None and ran[0].server["compute_ratio"] == 1.0
    errors = [abs(record.cloud_work - record.server["compute_ratio"]) for record in ran[3:]]  # type: ignore[operator,index]
    assert len(errors) > 3 and sorted(errors)[len(errors) // 2] < 0.25


def test_frames_go_to_both_places_and_the_link_is_lost_and_comes_back(
    model: LocalModel, server: StreamServer, clip: Path, tmp_path: Path
) -> None:
    """Every frame is answered, every output is that of a replay, and every decision is made again from its record."""
    faults = Faults()

    def at(frame: int) -> None:
        if frame in (18, 33):
            faults.lost = faults.refuse = True
        if frame in (21, 35):
            faults.lost = faults.refuse = False
        time.sleep(0.03)  # a camera

    with video.open(clip, size=SIZE, packets=True) as source:
        frames, outputs, settled = play(model, server, source, REUSES["planned"], faults, margin_ms=20.0, at=at)
    assert_replays(model, REUSES["planned"], frames, outputs, settled)
    assert {record.answered_by for record in settled} == {"edge", "cloud"}
    epochs = [record.epoch for record in settled if record.cloud_ran]
    assert len(set(epochs)) > 1 and epochs == sorted(epochs)
    assert any(record.cloud_lost for record in settled[18:])
    with LineFile(tmp_path / "placements.jsonl") as lines:
        for record in settled:
            lines.append(record.as_dict())
    assert replay_placements(tmp_path / "placements.jsonl", DispatchOptions(margin_ms=20.0)).mismatches == ()


def test_a_server_that_plans_is_kept_warm(model: LocalModel, server: StreamServer, clip: Path) -> None:
    """A refresh has no answer, but says its work, and the session there goes on as if it had."""
    with video.open(clip, size=SIZE, packets=True) as source:
        frames, outputs, settled = play(
            model,
            server,
            source,
            REUSES["planned"],
            Faults(delay_s=0.002),
            margin_ms=0.0,
            at=lambda _: time.sleep(0.02),
        )
    assert_replays(model, REUSES["planned"], frames, outputs, settled)
    warm = [record for record in settled if record.refreshed and record.cloud_ran]
    assert len(warm) > 3 and all(record.answered_by == "edge" and record.server_planned for record in warm)
    assert any(record.server is not None and record.server["compute_ratio"] < 1 for record in warm)


def test_a_frame_that_is_late_is_hedged_and_the_server_goes_on(
    model: LocalModel, server: StreamServer, clip: Path
) -> None:
    faults = Faults()

    def at(frame: int) -> None:
        if frame == 25:
            faults.up_bytes_per_s = 5e3
        if frame == 27:
            faults.up_bytes_per_s = 0.0
            time.sleep(0.5)

    with video.open(clip, size=SIZE, packets=True) as source:
        frames, outputs, settled = play(model, server, source, REUSES["planned"], faults, margin_ms=10_000.0, at=at)
    assert_replays(model, REUSES["planned"], frames, outputs, settled)
    hedged = [record for record in settled[25:27] if record.hedged]
    assert hedged and hedged[0].edge_ran and hedged[0].answered_by == "edge"
    assert any(record.answered_by == "cloud" for record in settled[28:])


def test_an_encoder_of_our_own_serves_pictures_that_have_no_packets(
    model: LocalModel, server: StreamServer, tmp_path: Path
) -> None:
    from PIL import Image

    for index, picture in enumerate(panning((100, 150), (0, 4), 40)):
        Image.fromarray(picture).save(tmp_path / f"{index:03}.png")
    with video.open(tmp_path, size=SIZE, packets=True) as source:
        assert source.packet_stream is not None and source.packet_stream.encoded_here
        frames, outputs, settled = play(model, server, source, REUSES["planned"], Faults())
    assert_replays(model, REUSES["planned"], frames, outputs, settled)
    assert sum(record.cloud_ran for record in settled) > 3


def losing(wanted: Callable[[int], bool]) -> Callable[[bytes], bytes | None]:
    """Loses the packets of these numbers."""

    def edit(data: bytes) -> bytes | None:
        message = read_up(data)
        lost = message.WhichOneof("kind") == "packet" and wanted(message.packet.number)
        return None if lost else data

    return edit


@pytest.mark.parametrize("server_work", ["edge", "server"])
def test_a_missing_packet_is_never_concealed(
    model: LocalModel, server: StreamServer, clip: Path, server_work: ServerWork
) -> None:
    """One dropped packet gives corrupt frames that are used silently: Savant, PyAV 185 and 1597."""
    reuse = REUSES["planned"]
    with video.open(clip, size=SIZE, packets=True) as source:
        faults = Faults(edit=losing(lambda number: number == 13))
        frames, outputs, settled = play(model, server, source, reuse, faults, server_work=server_work)
    assert_replays(model, reuse, frames, outputs, settled)
    assert any(record.cloud_outcome == "key needed" and "video" in record.cloud_reason for record in settled)
    after = [record.frame for record in settled if record.frame >= 13 and record.cloud_ran]
    assert after and min(after) >= 20  # the next keyframe of the video


def test_frames_may_be_carried_where_the_server_plans(model: LocalModel, server: StreamServer, clip: Path) -> None:
    """What has changed is seen against the last answered frame, whoever has answered it; skipped frames go up, too."""
    frames, outputs, settled, changed = [], {}, [], []
    options = OffloadOptions(payload="bitstream", stream="test", dispatch=DispatchOptions(margin_ms=10_000.0))
    with video.open(clip, size=SIZE, packets=True) as source:
        assert source.packet_stream is not None
        packets = VideoPackets(
            stream=source.packet_stream, request_keyframe=source.request_keyframe, decoder=decoder_fingerprint()
        )
        with OffloadedSession(
            lambda _: model, REUSES["planned"], InProcessTransport(server), options, video=packets,
            on_settled=settled.append,
        ) as session:  # fmt: skip
            for index, frame in enumerate(source):
                frames.append(frame)
                if index % 3 == 2:
                    seen = session.glance(frame.planes, frame.motion)
                    assert index < 3 or seen is not None
                    session.skip(frame)
                    continue
                outputs[index] = session.run(frame)
                changed.append(session.changed())
                if session.record.answered_by == "cloud":
                    assert session.planned is None
                    with pytest.raises(StateError, match="server_work='edge'"):
                        session.work_map()
                until = time.monotonic() + 5
                while index == 0 and not session.link.is_open and time.monotonic() < until:
                    time.sleep(0.01)
                if session.record.cloud_open == "a frame is under way":
                    time.sleep(0.1)  # the decoder is starting
    replay, records = Replay(model.program, REUSES["planned"], SIZE, sparse_image=False), iter(settled)
    for index, frame in enumerate(frames):
        if index not in outputs:
            replay.skip(frame)
            continue
        expected = replay.run(frame, next(records))
        assert all(torch.equal(a, b) for a, b in zip(tree_leaves(outputs[index]), tree_leaves(expected), strict=True))
    assert sum(record.answered_by == "cloud" for record in settled) > 5
    assert changed[0] is None and changed[-1] is not None and changed[-1].shape == (SIZE[0] // 8, SIZE[1] // 8)
    assert all(record.cloud_outcome != "key needed" for record in settled)


def test_the_server_plans_for_planned_reuse_only(model: LocalModel, server: StreamServer, clip: Path) -> None:
    with video.open(clip, size=SIZE, packets=True) as source, pytest.raises(OptionError, match="server_work='edge'"):
        play(model, server, source, REUSES["propagated"], Faults(), server_work="server")
