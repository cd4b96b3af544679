"""A stream in two places over gRPC and mutual TLS: its outputs are those of a replay, also when the server dies."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_leaves

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.offload.grpc_serving import serving
from fluxshard.testing.offload.serve_process import serve_process, write_small_model
from fluxshard.testing.offload.two_places import SIZE, Replay, moving_frames, server_of, session_of, small_model
from tests.unit.cloud.network.talk import edge_files, server_files, until

REUSES = {
    "planned": ReuseOptions(
        policy="planned", planned=PlannedOptions(tau=0.02, tau_background=None, tau_small=None), scene_cut=0.95
    ),
    "propagated": ReuseOptions(tau_input=0.02, tau=0.05, scene_cut=0.95),
}
CLOUD_FIRST = DispatchOptions(margin_ms=10_000.0)  # the edge has to be faster by so much
EDGE_FIRST = DispatchOptions(margin_ms=0.0, second_look_s=0.0)  # a server that cannot win is kept warm all the same
OPTIONS = OffloadOptions(payload="raw", stream="test", dispatch=CLOUD_FIRST)


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return small_model()


def wait_open(session: OffloadedSession, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not session.link.is_open:
        assert time.monotonic() < until, session.link.reason
        time.sleep(0.01)


def assert_replays(
    model: LocalModel, reuse: ReuseOptions, outputs: list[object], settled: list[PlacementRecord]
) -> None:
    assert [record.frame for record in settled] == list(range(len(outputs)))
    replay = Replay(model.program, reuse, SIZE, sparse_image=True)
    for frame, output, record in zip(moving_frames(len(outputs)), outputs, settled, strict=True):
        expected = replay.run(frame, record)
        assert all(torch.equal(a, b) for a, b in zip(tree_leaves(output), tree_leaves(expected), strict=True)), record


@pytest.mark.parametrize("dispatch", [CLOUD_FIRST, EDGE_FIRST], ids=["cloud first", "edge first"])
@pytest.mark.parametrize("name", REUSES)
def test_outputs_are_those_of_a_replay(model: LocalModel, site: Path, name: str, dispatch: DispatchOptions) -> None:
    settled: list[PlacementRecord] = []
    with serving(lambda: server_of(model), ServerAccess(tls=server_files(site))) as served:
        transport = GrpcTransport(served.address, tls=edge_files(site))
        session = session_of(model, transport, REUSES[name], replace(OPTIONS, dispatch=dispatch), settled.append)
        outputs = []
        for index, frame in enumerate(moving_frames(40)):
            outputs.append(session.run(frame))
            if index == 0:
                wait_open(session)
        session.close()
        until(served, lambda: (served.streams.connected, served.streams.cached_bytes) == (0, 0))
    assert_replays(model, REUSES[name], outputs, settled)
    assert any(record.cloud_ran and not record.cloud_keyframe for record in settled)
    if dispatch is CLOUD_FIRST:
        assert any(record.answered_by == "cloud" for record in settled)


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_is_used_again(model: LocalModel, tmp_path: Path) -> None:
    weights = write_small_model(tmp_path / "small.pt")
    arguments = ("--model", weights, "--size", "x".join(map(str, SIZE)), "--backend", "reference", "--insecure")
    reuse = REUSES["planned"]
    settled: list[PlacementRecord] = []
    outputs: list[object] = []
    frames = moving_frames(60)
    with serve_process(tmp_path, *arguments, "--listen", "127.0.0.1:0") as first:
        session = session_of(model, GrpcTransport(first.address, insecure=True), reuse, OPTIONS, settled.append)
        outputs.append(session.run(next(frames)))
        wait_open(session)
        outputs += [session.run(next(frames)) for _ in range(19)]
        before = session.link.epoch
        assert before == 1 and any(record.answered_by == "cloud" for record in settled)
        first.kill()
        while session.link.is_open:
            outputs.append(session.run(next(frames)))
        outputs.append(session.run(next(frames)))
        assert session.record.answered_by == "edge"
        until = time.monotonic() + 10
        while "nothing listens there" not in session.link.reason:
            assert time.monotonic() < until, session.link.reason
            time.sleep(0.01)
    with serve_process(tmp_path, *arguments, "--listen", first.address):
        began = time.monotonic()
        wait_open(session)
        reconnected_s = time.monotonic() - began
        start = len(outputs)
        outputs += [session.run(frame) for frame in frames]
        session.close()
    print(f"open again {reconnected_s:.2f} s after the server was ready")
    assert len(outputs) == 60
    assert_replays(model, reuse, outputs, settled)
    assert settled[start].cloud_keyframe and any(record.answered_by == "cloud" for record in settled[start:])
