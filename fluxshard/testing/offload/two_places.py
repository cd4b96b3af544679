"""Streams in two places for tests: a small network, frames that move, a server in the process. Needs `cloud`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import fluxshard
from fluxshard.cloud.compute import Compute, compute_of
from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.cloud.server.served_model import Catalogue, ServedModel
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.regions import regions
from fluxshard.motion import MotionField
from fluxshard.options import CompileOptions, ReuseOptions
from fluxshard.runtime.endpoints.engine_stream import EngineStream, on_cpu
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import cloud_policy, edge_policy
from fluxshard.runtime.offload.transport import Transport
from fluxshard.runtime.reuse.policy import WorkPolicy
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.runtime.threshold_profile import weights_digest
from fluxshard.testing.fake_engine import FakeEngine
from fluxshard.testing.networks import TwoStrides
from fluxshard.video.frame import Frame
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.motion_since import MotionSince

SIZE = (32, 48)


def small_model(size: tuple[int, int] = SIZE) -> LocalModel:
    """`TwoStrides` on the reference backend."""
    torch.manual_seed(0)
    model = fluxshard.compile(TwoStrides().eval(), options=CompileOptions(backend="reference"))
    return local_model(model, size)


def fake_model(size: tuple[int, int] = SIZE) -> LocalModel:
    """A `FakeEngine` as a model: for what outputs do not matter to."""
    compute = Compute(backend="fake", dtype="float32", isa="torch", device="", version="0")
    program = Program(FakeEngine(size), lambda leaves: leaves[0])
    return LocalModel(program=program, weights="fake", compute=compute)


def local_model(model: fluxshard.CompiledModel, size: tuple[int, int]) -> LocalModel:
    """A compiled model as an edge has it."""
    program = model.specialise(torch.zeros(1, 3, *size)).program
    weights = weights_digest(program.engine.plan, model.weights)
    return LocalModel(program=program, weights=weights, compute=compute_of(model))


def server_of(*models: LocalModel | ServedModel, limits: ServerLimits | None = None, **options: Any) -> StreamServer:
    """A server for these models; `options` are those of `StreamServer`."""
    served = [
        one
        if isinstance(one, ServedModel)
        else ServedModel(program=one.program, weights=one.weights, compute=one.compute)
        for one in models
    ]
    return StreamServer(Catalogue(served), limits, **options)


def moving_frames(n: int, size: tuple[int, int] = SIZE, seed: int = 0, dx: int = 4) -> Iterator[Frame]:
    """A picture that moves right, in which a patch changes: frames as a video gives them."""
    rng = np.random.default_rng(seed)
    letterbox = Letterbox(size, size)
    wide = rng.integers(0, 256, (size[0], size[1] + dx * n, 3), np.uint8)
    for index in range(n):
        left = dx * (n - index)
        pixels = np.ascontiguousarray(wide[:, left : left + size[1]])
        y, x = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
        pixels[y : y + 8, x : x + 8] = rng.integers(0, 256, (8, 8, 3), np.uint8)
        motion = fluxshard.MotionField.uniform(*size, 0, dx) if index else None
        yield Frame(motion, index, index / 25, "codec", letterbox, pixels, pixels)


def session_of(
    model: LocalModel,
    transport: Transport,
    reuse: ReuseOptions | None = None,
    options: OffloadOptions | None = None,
    on_settled: Callable[[PlacementRecord], None] = lambda _: None,
) -> OffloadedSession:
    """A session in two places for frames of one size."""
    reuse = reuse or ReuseOptions(policy="planned")
    return OffloadedSession(lambda _: model, reuse, transport, options, on_settled=on_settled)


class Replay:
    """Runs a stream's two halves in this process, where the records say: its outputs must be those of the stream.

    Args:
      program: of both endpoints.
      reuse: of the stream.
      size: (H, W) of the images.
      sparse_image: the server is sent the pixels of S_0 only.
      detect: what a server that plans focuses on: from outputs to detections down to the confidence of regions; None
        where it does not know the head.
    """

    def __init__(
        self,
        program: Program,
        reuse: ReuseOptions,
        size: tuple[int, int],
        *,
        sparse_image: bool,
        detect: Callable[[Any], Detections] | None = None,
    ) -> None:
        self._edge = Mirror(edge_policy(program, reuse), size)
        self._cloud = Mirror(_told_policy(program, reuse, sparse_image=sparse_image), size)
        self._edge_stream, self._cloud_stream = EngineStream(program), EngineStream(program)
        self._there = _There(program, reuse, size, detect)

    def run(self, frame: Frame, record: PlacementRecord) -> Any:
        """Outputs of the endpoint that answered."""
        for mirror, lost in ((self._edge, record.edge_lost), (self._cloud, record.cloud_lost)):
            if lost:
                mirror.reset()
            mirror.advance(frame.motion)
        self._there.advance(frame.motion, lost=record.cloud_lost)
        edge = cloud = None
        if record.edge_ran:
            proposal = self._edge.propose(frame.image)
            assert proposal.keyframe == record.edge_keyframe
            self._edge.commit(proposal)
            edge = self._edge_stream.run(proposal.image, proposal.motion, proposal.control).outputs
        if record.cloud_ran and record.server_planned:
            cloud = self._there.run(frame, record.epoch)
        elif record.cloud_ran:
            proposal = self._cloud.propose(frame.image)
            assert proposal.keyframe == record.cloud_keyframe
            self._cloud.commit(proposal)
            cloud = self._cloud_stream.run(proposal.image, proposal.motion, proposal.control).outputs
        return on_cpu(edge if record.answered_by == "edge" else cloud)

    def skip(self, frame: Frame) -> None:
        """See `OffloadedSession.skip`."""
        self._edge.advance(frame.motion)
        self._cloud.advance(frame.motion)
        self._there.advance(frame.motion)

    def focus(self, regions: Any) -> None:
        """See `Session.focus`."""
        self._edge.focus(regions)
        self._cloud.focus(regions)


class _There:
    """A server that plans: one session, which runs the frames of each connection, and starts anew where one was lost.

    Args:
      program, reuse, size, detect: see `Replay`.
    """

    def __init__(
        self,
        program: Program,
        reuse: ReuseOptions,
        size: tuple[int, int],
        detect: Callable[[Any], Detections] | None,
    ) -> None:
        self._session, self._since = Session(lambda _: program, reuse), MotionSince(size)
        self._planned, self._detect = reuse.planned, detect
        self._epoch, self._lost = 0, False

    def advance(self, motion: MotionField | None, *, lost: bool = False) -> None:
        """Takes a captured frame."""
        self._since.add(motion)
        self._lost |= lost

    def run(self, frame: Frame, epoch: int) -> Any:
        """Outputs of the last frame."""
        if self._lost or epoch != self._epoch:
            self._session.reset()
        self._epoch, self._lost = epoch, False
        outputs = self._session.run(frame.image, self._since.motion)
        self._since.restart()
        if self._detect is not None:
            found = self._detect(on_cpu(outputs))
            self._session.focus(regions(found, self._planned.region_confidence, self._planned.small_px))
        return outputs


def _told_policy(program: Program, reuse: ReuseOptions, *, sparse_image: bool) -> WorkPolicy:
    """The policy of an endpoint that is told its work, with the input that it reads."""
    if reuse.policy == "propagated" or not sparse_image:
        return cloud_policy(program, reuse, sparse_image=sparse_image)
    return edge_policy(program, replace(reuse, input="assembled"))
