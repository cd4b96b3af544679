"""A server that computes with other instructions and in another precision: allowed, said, and near."""

from __future__ import annotations

import time

import pytest
import torch
from torch.utils._pytree import tree_leaves

import fluxshard
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.options import CompileOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.networks import TwoStrides
from fluxshard.testing.offload.in_process import InProcessTransport
from fluxshard.testing.offload.two_places import SIZE, Replay, local_model, moving_frames, server_of, session_of

REUSES = {
    "planned": ReuseOptions(
        policy="planned", planned=PlannedOptions(tau_background=None, tau_small=None), scene_cut=1.0
    ),
    "propagated": ReuseOptions(tau_input=0.02, tau=0.05, scene_cut=1.0),
}


@pytest.mark.requires_compiler
@pytest.mark.parametrize("payload", ["raw", "packed"])
@pytest.mark.parametrize("name", REUSES)
def test_kernels_of_a_gpu_in_half_precision(name: str, payload: str) -> None:
    """`fluxshard serve --device cuda --dtype float16`, in the emulator."""
    torch.manual_seed(0)
    net = TwoStrides().eval()
    edge = local_model(fluxshard.compile(net, options=CompileOptions(backend="reference")), SIZE)
    options = CompileOptions(backend="emulated", dtype="float16")
    foreign = local_model(fluxshard.compile(net, options=options, target="cuda"), SIZE)
    assert foreign.program.engine.plan.digest() == edge.program.engine.plan.digest()
    server, settled = server_of(foreign), list[PlacementRecord]()
    offload = OffloadOptions(
        payload=payload,
        stream="test",
        dispatch=DispatchOptions(margin_ms=10_000.0),  # type: ignore[arg-type]
    )
    session = session_of(edge, InProcessTransport(server), REUSES[name], offload, settled.append)
    frames, outputs = list(moving_frames(24)), []
    for frame in frames:
        outputs.append(session.run(frame))
        until = time.monotonic() + 10
        while not session.link.is_open and time.monotonic() < until:
            time.sleep(0.01)
    welcome = session.link.welcome
    session.close()
    server.close()
    assert welcome is not None and not welcome.same_compute
    assert (welcome.backend, welcome.dtype) == ("emulated", "float16")
    assert sum(record.cloud_ran for record in settled) >= 5
    replay = Replay(edge.program, REUSES[name], SIZE, sparse_image=True)
    for frame, output, record in zip(frames, outputs, settled, strict=True):
        for one, other in zip(tree_leaves(output), tree_leaves(replay.run(frame, record)), strict=True):
            assert torch.allclose(one.float(), other, atol=2e-2)
