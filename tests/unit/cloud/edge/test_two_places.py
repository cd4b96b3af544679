"""A stream in two places, over a transport without a network: outputs are those of a replay, whatever goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.evaluate.offload.placement_replay import replay_placements
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.pipeline.sinks.line_file import LineFile
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.runtime.offload.energy import EdgeEnergy
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.runtime.offload.online_latency import OnlineLatency
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from fluxshard.testing.offload.two_places import SIZE, Replay, moving_frames, server_of, session_of, small_model

REUSES = {
    "planned": ReuseOptions(
        policy="planned", planned=PlannedOptions(tau=0.02, tau_background=None, tau_small=None), scene_cut=0.95
    ),
    "propagated": ReuseOptions(tau_input=0.02, tau=0.05, scene_cut=0.95),
}
CLOUD_FIRST = DispatchOptions(margin_ms=10_000.0)  # the edge has to be faster by so much
EDGE_FIRST = DispatchOptions(margin_ms=0.0, second_look_s=0.0)  # a server that cannot win is kept warm all the same


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return small_model()


@pytest.fixture
def server(model: LocalModel) -> Iterator[StreamServer]:
    made = server_of(model)
    yield made
    made.close()


def options(**given: object) -> OffloadOptions:
    return replace(OffloadOptions(payload="raw", stream="test"), **given)  # type: ignore[arg-type]


def wait_open(session: OffloadedSession, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not session.link.is_open:
        assert time.monotonic() < until, session.link.reason
        time.sleep(0.01)


def run(
    session: OffloadedSession, n: int, settled: list[PlacementRecord], faults: dict[int, Faults] | None = None,
    transport: InProcessTransport | None = None,
) -> list[object]:  # fmt: skip
    outputs = []
    for index, frame in enumerate(moving_frames(n)):
        if faults and index in faults:
            assert transport is not None
            transport.faults = faults[index]
        outputs.append(session.run(frame))
        if index == 0:
            wait_open(session)
    session.close()
    return outputs


def assert_replays(
    model: LocalModel, reuse: ReuseOptions, outputs: list[object], settled: list[PlacementRecord]
) -> None:
    assert [record.frame for record in settled] == list(range(len(outputs)))
    replay = Replay(model.program, reuse, SIZE, sparse_image=True)
    for frame, output, record in zip(moving_frames(len(outputs)), outputs, settled, strict=True):
        expected = replay.run(frame, record)
        assert all(torch.equal(a, b) for a, b in zip(tree_leaves(output), tree_leaves(expected), strict=True)), record


@pytest.mark.parametrize("dispatch", [CLOUD_FIRST, EDGE_FIRST], ids=["cloud first", "edge first"])
@pytest.mark.parametrize("payload", ["raw", "packed"])
@pytest.mark.parametrize("name", REUSES)
def test_outputs_are_those_of_a_replay(
    model: LocalModel, server: StreamServer, name: str, dispatch: DispatchOptions, payload: str
) -> None:
    settled: list[PlacementRecord] = []
    transport = InProcessTransport(server)
    session = session_of(model, transport, REUSES[name], options(dispatch=dispatch, payload=payload), settled.append)
    outputs = run(session, 40, settled)
    assert_replays(model, REUSES[name], outputs, settled)
    assert any(record.cloud_ran and not record.cloud_keyframe for record in settled)
    assert settled[0].answered_by == "edge"
    if dispatch is CLOUD_FIRST:
        assert sum(record.cloud_ran for record in settled) > 5
    assert server.connected == 0 and server.cached_bytes == 0


def test_a_deadline_that_no_message_can_say_is_none(model: LocalModel, server: StreamServer) -> None:
    settled: list[PlacementRecord] = []
    given = options(dispatch=replace(CLOUD_FIRST, deadline_ms=1e10))
    outputs = run(session_of(model, InProcessTransport(server), REUSES["planned"], given, settled.append), 20, settled)
    assert_replays(model, REUSES["planned"], outputs, settled)
    assert any(record.cloud_ran for record in settled)


@pytest.mark.parametrize("name", REUSES)
def test_frames_that_nobody_runs_move_both_caches_on(model: LocalModel, server: StreamServer, name: str) -> None:
    settled: list[PlacementRecord] = []
    given = options(dispatch=CLOUD_FIRST, payload="packed")
    session = session_of(model, InProcessTransport(server), REUSES[name], given, settled.append)
    replay, outputs = Replay(model.program, REUSES[name], SIZE, sparse_image=True), []
    for index, frame in enumerate(moving_frames(40)):
        time.sleep(0.005)  # a camera: all at once, the stream is over before the server has answered
        if index % 3 == 2:
            session.skip(frame)
            continue
        outputs.append(session.run(frame))
        if index == 0:
            wait_open(session)
    session.close()
    records = {record.frame: record for record in settled}
    assert sorted(records) == [index for index in range(40) if index % 3 != 2]
    for index, frame in enumerate(moving_frames(40)):
        if index not in records:
            replay.skip(frame)
            continue
        output, expected = outputs.pop(0), replay.run(frame, records[index])
        assert all(torch.equal(a, b) for a, b in zip(tree_leaves(output), tree_leaves(expected), strict=True)), index
    assert sum(record.answered_by == "cloud" for record in settled) > 5


@pytest.mark.parametrize("name", REUSES)
def test_a_lossy_payload_is_mirrored_as_the_server_sees_it(model: LocalModel, server: StreamServer, name: str) -> None:
    """Nothing is sent again because of the encoder's noise, and both ends have the same pixels, or it is said."""
    settled: list[PlacementRecord] = []
    reuse = replace(REUSES[name], tau_input=0.4)  # the picture is noise, of which JPEG leaves little
    session = session_of(
        model, InProcessTransport(server), reuse, options(dispatch=CLOUD_FIRST, payload="jpeg"), settled.append
    )
    run(session, 40, settled)
    cloud = [record for record in settled if record.cloud_ran]
    assert len(cloud) > 5 and not any("pixels" in record.cloud_reason for record in settled)
    assert any(not record.cloud_keyframe for record in cloud)


def test_unlike_decoders_are_noticed_and_the_payload_becomes_lossless(
    model: LocalModel, server: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two builds of libjpeg may decode one picture differently: the first time costs a key, the second the payload."""
    from fluxshard.cloud.server.images import SparseImages

    decode = SparseImages._decode

    def otherwise(self: SparseImages, payload: bytes, mask: object) -> object:
        image = decode(self, payload, mask)  # type: ignore[arg-type]
        self.digest ^= 1
        return image

    monkeypatch.setattr(SparseImages, "_decode", otherwise)
    settled: list[PlacementRecord] = []
    session = session_of(
        model, InProcessTransport(server), REUSES["planned"], options(dispatch=CLOUD_FIRST, payload="jpeg"),
        settled.append,
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="payload 'packed'"):
        run(session, 40, settled)
    unlike = [record for record in settled if "other pixels" in record.cloud_reason]
    assert len(unlike) == 2
    assert any(record.cloud_ran for record in settled[settled.index(unlike[-1]) + 1 :])


def test_cuts_and_regions_replay(model: LocalModel, server: StreamServer) -> None:
    """A cut is a keyframe of a cache that is there: unlike one that was lost, regions of before still count."""
    planned = PlannedOptions(tau=0.02, tau_background=0.5, hold_frames=5)
    reuse = ReuseOptions(policy="planned", planned=planned, scene_cut=0.9)
    frames = [frame for seed in range(6) for frame in moving_frames(8, seed=seed)]
    rng = np.random.default_rng(0)
    regions = [(rng.random((4, 6)) < 0.2).astype(np.uint8) for _ in frames]
    settled: list[PlacementRecord] = []
    outputs = []
    with session_of(model, InProcessTransport(server), reuse, options(dispatch=CLOUD_FIRST), settled.append) as session:
        for index, frame in enumerate(frames):
            outputs.append(session.run(frame))
            session.focus(regions[index])
            if index == 0:
                wait_open(session)
    keys = [record.frame for record in settled if record.cloud_keyframe and not record.cloud_lost]
    assert len(keys) > 3  # cuts
    replay = Replay(model.program, reuse, SIZE, sparse_image=True)
    for frame, output, record, region in zip(frames, outputs, settled, regions, strict=True):
        expected = replay.run(frame, record)
        assert all(torch.equal(a, b) for a, b in zip(tree_leaves(output), tree_leaves(expected), strict=True)), record
        replay.focus(region)


def test_energy_decides_where_it_is_known(model: LocalModel, server: StreamServer) -> None:
    """Computing costs more than waiting, and keeping the server warm would cost energy, too."""
    frame_mj = LatencyModel(base_ms=1e6, slopes_ms=(0.0,), knots=((1e6, 1e6),), error=0.0, samples=20)
    costly = replace(model, energy=EdgeEnergy(frame_mj=frame_mj, rest_mw=1.0))
    settled: list[PlacementRecord] = []
    dispatch = replace(EDGE_FIRST, minimize="energy")
    session = session_of(
        costly, InProcessTransport(server), REUSES["propagated"], options(dispatch=dispatch), settled.append
    )
    outputs = run(session, 40, settled)
    assert_replays(model, REUSES["propagated"], outputs, settled)
    reasons = [record.decision.reason for record in settled if record.inputs.cloud_ms and record.inputs.edge_ms]
    assert reasons and set(reasons) == {"less energy"}
    assert all(record.decision.endpoint == "cloud" for record in settled if record.decision.reason == "less energy")


def slow_edge(model: LocalModel, base_ms: float) -> LocalModel:
    """A model whose profile says so much for every frame, whatever its work."""
    kinds = 1 + len(work_orders(model.program.engine.plan, REUSES["planned"]).levels)
    profile = LatencyModel(
        base_ms=base_ms, slopes_ms=(1.0,) * kinds, knots=((0.0, base_ms), (1e6, base_ms + 1)), error=0.0, samples=20
    )
    return replace(model, latency=OnlineLatency.from_profile(profile))


def test_an_edge_that_cannot_be_first_tests_no_frame_until_it_has_to_answer_it(
    model: LocalModel, server: StreamServer, tmp_path: Path
) -> None:
    """An edge that was 16 times slower than the server spent 50 ms a frame on a test whose result changed nothing."""
    settled: list[PlacementRecord] = []
    transport = InProcessTransport(server)
    dispatch = DispatchOptions()
    session = session_of(
        slow_edge(model, 5000.0), transport, REUSES["planned"], options(dispatch=dispatch), settled.append
    )
    outputs = run(session, 40, settled, {25: Faults(lost=True, refuse=True), 32: Faults()}, transport)
    assert_replays(model, REUSES["planned"], outputs, settled)
    untested = [record for record in settled if not record.edge_tested]
    away = [record for record in untested if not record.edge_ran]
    assert len(away) > 5 and all(record.edge_work is None and record.answered_by == "cloud" for record in away)
    assert all(record.decision.endpoint == "cloud" for record in untested)
    least_ms = [record.inputs.edge_ms for record in untested]
    assert all(ms is not None and ms > 100 for ms in least_ms), "of the profile, which frames that it runs correct"
    back = [record for record in settled if record.edge_ran]
    assert all(record.edge_work is not None for record in back)
    assert all(record.edge_tested for record in settled if record.cloud_open), "without a server, nobody else runs it"
    with LineFile(tmp_path / "placements.jsonl") as lines:
        for record in settled:
            lines.append(record.as_dict())
    assert replay_placements(tmp_path / "placements.jsonl", dispatch).mismatches == ()


def test_a_frame_that_comes_back_is_tested_then(model: LocalModel, server: StreamServer) -> None:
    settled: list[PlacementRecord] = []
    transport = InProcessTransport(server)
    session = session_of(
        slow_edge(model, 5000.0), transport, REUSES["planned"], options(dispatch=DispatchOptions()), settled.append
    )
    frames, outputs = moving_frames(60), []
    outputs.append(session.run(next(frames)))
    wait_open(session)
    for frame in frames:
        lose = len(outputs) == 20
        if lose:  # the frame is on its way, and the link is lost
            transport.faults = Faults(silent=True)
            timer = threading.Timer(0.05, lambda: setattr(transport, "faults", Faults(lost=True, refuse=True)))
            timer.start()
        outputs.append(session.run(frame))
        if lose:
            timer.join()
            transport.faults = Faults()
    session.close()
    assert_replays(model, REUSES["planned"], outputs, settled)
    back = settled[20]
    assert not back.edge_tested and back.edge_ran and back.edge_work is not None and back.answered_by == "edge"
    assert back.cloud_outcome == "lost" and back.hedged


def test_the_paper_s_algorithm_tests_both_caches(model: LocalModel, server: StreamServer) -> None:
    settled: list[PlacementRecord] = []
    dispatch = DispatchOptions(policy="paper")
    session = session_of(
        slow_edge(model, 5000.0), InProcessTransport(server), REUSES["planned"], options(dispatch=dispatch),
        settled.append,
    )  # fmt: skip
    run(session, 20, settled)
    assert sum(record.cloud_ran for record in settled) > 5 and all(record.edge_tested for record in settled)
