"""A paused stream is packed away on the server, over real sockets: less memory, the same bits, no keyframe."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_leaves

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

import fluxshard
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.security.site import make_site
from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.options import CompileOptions
from fluxshard.testing.networks import TwoStrides
from fluxshard.testing.offload.grpc_serving import serving
from fluxshard.testing.offload.two_places import Replay, local_model, moving_frames, server_of, session_of
from tests.offload.streams import CLOUD_FIRST, PATIENT, REUSES, until
from tests.unit.cloud.network.talk import edge_files, server_files

pytestmark = pytest.mark.requires_compiler
SIZE = (96, 128)
OPTIONS = OffloadOptions(payload="raw", stream="test", dispatch=CLOUD_FIRST, link=PATIENT)
LEAST_SAVED = 0.2  # of a stream's memory


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    make_site(directory, hosts=("127.0.0.1",), clients=("edge",), days=1, overwrite=True)
    return directory


@pytest.fixture(scope="module")
def model() -> LocalModel:
    torch.manual_seed(0)
    return local_model(fluxshard.compile(TwoStrides().eval(), options=CompileOptions(backend="cpp")), SIZE)


@pytest.mark.parametrize("name", REUSES)
def test_memory_falls_in_a_pause_and_outputs_stay(model: LocalModel, site: Path, name: str) -> None:
    settled: list[PlacementRecord] = []
    frames, outputs = moving_frames(400, SIZE), []
    limits = ServerLimits(park_s=0.2, lease_s=60.0)
    with serving(lambda: server_of(model, limits=limits), ServerAccess(tls=server_files(site))) as served:
        transport = GrpcTransport(served.address, tls=edge_files(site))
        session = session_of(model, transport, REUSES[name], OPTIONS, settled.append)

        def run_until_cloud_answers() -> None:
            for frame in frames:
                outputs.append(session.run(frame))
                time.sleep(0.01)  # a frame takes the edge less, and the cloud is to have its turn
                if len(outputs) == 1:
                    until(lambda: session.link.is_open)
                if session.record.answered_by == "cloud" and not session.record.cloud_keyframe:
                    return

        run_until_cloud_answers()
        keyframes = 0
        for _ in range(2):
            whole = served.ask(lambda: served.streams.cached_bytes)
            most = (1 - LEAST_SAVED) * whole
            until(lambda most=most: 0 < served.ask(lambda: served.streams.cached_bytes) <= most)
            before = len(outputs)
            run_until_cloud_answers()
            assert len(outputs) < 400, settled[-3:]
            assert served.ask(lambda: served.streams.cached_bytes) == whole
            keyframes += sum(record.cloud_keyframe for record in settled[before:])
        session.close()
        until(lambda: served.ask(lambda: served.streams.cached_bytes) == 0)
    assert keyframes == 0, "a packed stream is not lost"
    replay = Replay(model.program, REUSES[name], SIZE, sparse_image=True)
    for frame, output, record in zip(moving_frames(400, SIZE), outputs, settled, strict=False):
        expected = replay.run(frame, record)
        assert all(torch.equal(a, b) for a, b in zip(tree_leaves(output), tree_leaves(expected), strict=True)), record
