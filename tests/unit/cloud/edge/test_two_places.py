"""A stream in two places, over a transport without a network: outputs are those of a replay, whatever goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.runtime.offload.energy import EdgeEnergy
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from fluxshard.testing.offload.two_places import SIZE, Replay, moving_frames, server_of, session_of, small_model

REUSES = {
    "planned": ReuseOptions(
        policy="planned", planned=PlannedOptions(tau=0.02, tau_background=None, tau_small=None), scene_cut=0.95
    ),
    "propagated": ReuseOptions(tau_input=0.02, tau=0.05, scene_cut=0.95),
}
CLOUD_FIRST = DispatchOptions(margin_ms=10_000.0)  # the edge has to be faster by so much
EDGE_FIRST = DispatchOptions(margin_ms=0.0)


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


@pytest.mark.parametrize("name", REUSES)
def test_frames_that_nobody_runs_move_both_caches_on(model: LocalModel, server: StreamServer, name: str) -> None:
    settled: list[PlacementRecord] = []
    given = options(dispatch=CLOUD_FIRST, payload="packed")
    session = session_of(model, InProcessTransport(server), REUSES[name], given, settled.append)
    replay, outputs = Replay(model.program, REUSES[name], SIZE, sparse_image=True), []
    for index, frame in enumerate(moving_frames(40)):
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
