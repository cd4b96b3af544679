"""The stream of a method on an edge: a session, its loop, and what it needs of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import fluxshard
from fluxshard.cloud.compute import Compute, compute_of
from fluxshard.cloud.decoding.fingerprint import decoder_fingerprint
from fluxshard.cloud.edge.camera.options import WatchOptions
from fluxshard.cloud.edge.detection_answers import detect_with, detection_answers
from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.session_parts import LocalModel, VideoPackets
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.compile_loaded import compile_loaded
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.end_to_end.live.edge.busy import BusyTime
from fluxshard.evaluate.end_to_end.live.edge.slowed import slowed
from fluxshard.evaluate.end_to_end.live.edge.spec import EdgeSpec
from fluxshard.evaluate.end_to_end.live.methods import LiveMethod
from fluxshard.evaluate.end_to_end.settings import Settings, methods_of
from fluxshard.evaluate.methods.method import LEAST_CERTAIN, LOWEST_CONFIDENCE, Reuse
from fluxshard.models.loading.load import load
from fluxshard.models.loading.loaded_model import HeadLayout
from fluxshard.motion import MotionField
from fluxshard.options import CompileOptions, ReuseOptions
from fluxshard.pipeline.anytime.timely_loop import TimelyLoop
from fluxshard.pipeline.carrying.carrier import ResultCarrier
from fluxshard.pipeline.run_video import VideoLoop
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.runtime.engines.engine import Mask
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.runtime.offload.latency_profile import LatencyProfile
from fluxshard.runtime.offload.online_latency import OnlineLatency
from fluxshard.runtime.planned.proposal import ShardProposal
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.runtime.threshold_profile import weights_digest
from fluxshard.video import VideoSource

_ALWAYS_SERVER_MS = 1e9  # margin by which the edge would have to be faster
_IOU = 0.7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EdgeModel:
    """The network on an edge.

    Attributes:
      program: slowed.
      weights: digest.
      compute: what it runs on.
      layout: of the outputs.
      busy: how long the program has computed.
    """

    program: Program
    weights: str
    compute: Compute
    layout: HeadLayout
    busy: BusyTime


def edge_model(spec: EdgeSpec) -> EdgeModel:
    """Loads and compiles the network.

    Raises:
      FluxShardError: it cannot be.
    """
    loaded = load(Path(spec.weights), spec.task)
    if loaded.layout is None:
        raise EvaluationError("a network whose detections are not known cannot be evaluated")
    compiled = compile_loaded(loaded, options=CompileOptions(backend=spec.backend))  # type: ignore[arg-type]
    program = compiled.specialise(torch.zeros(1, 3, *spec.size)).program
    busy = BusyTime()
    return EdgeModel(
        program=slowed(program, spec.slowdown, busy), weights=weights_digest(program.engine.plan, compiled.weights),
        compute=compute_of(compiled), layout=loaded.layout, busy=busy,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveStream:
    """A stream that runs.

    Attributes:
      loop: steps through it.
      before: called before every frame.
      linked: whether the server is there; an edge alone needs none.
      busy: how long the edge has computed.
    """

    loop: VideoLoop
    before: Callable[[], None]
    linked: Callable[[], bool]
    busy: BusyTime


@contextmanager
def open_stream(spec: EdgeSpec, method: LiveMethod, model: EdgeModel, source: VideoSource) -> Iterator[LiveStream]:
    """A method's stream over a video.

    Args:
      spec: of the edge.
      method: to run.
      model: on the edge.
      source: the camera.
    """
    reuse = _reuse(spec, method)
    lowest = min(LOWEST_CONFIDENCE, reuse.planned.region_confidence)
    if method.place == "edge":
        detect = detect_with(model.layout, spec.size, lowest, _IOU)
        with Session(lambda _: model.program, ReuseOptions()) as alone:
            loop = StreamLoop(session=alone, detect=detect)
            yield LiveStream(loop=loop, before=alone.reset, linked=lambda: True, busy=model.busy)
        return
    assert spec.server is not None
    stream_name = f"{method.slug}-{spec.edge}"
    tls = _tls(Path(spec.certificates))
    if method.place == "camera":
        watch = WatchOptions(reuse=reuse, confidence=lowest, iou=_IOU, stream=stream_name, tls=tls)
        with fluxshard.watch(source, spec.server, watch) as camera:
            loop = StreamLoop(session=camera, detect=_as_it_is, placement=lambda: camera.record.as_dict())
            before = camera.reset if method.reuse == "whole" else _nothing
            yield LiveStream(loop=loop, before=before, linked=lambda: camera.link.is_open, busy=model.busy)
        return
    local = _local_model(spec, method, model, reuse)
    dispatch = DispatchOptions(policy=method.dispatch)
    if method.prefers_server:
        dispatch = replace(dispatch, margin_ms=_ALWAYS_SERVER_MS)
    options = OffloadOptions(
        dispatch=dispatch, payload=method.payload, answer="detections",
        stream=stream_name, keep_warm=method.keep_warm, tls=tls,
    )  # fmt: skip
    packets = None
    if method.payload == "bitstream":
        assert source.packet_stream is not None
        packets = VideoPackets(
            stream=source.packet_stream, request_keyframe=source.request_keyframe, decoder=decoder_fingerprint()
        )
    transport = GrpcTransport(spec.server, tls=tls, token=None, insecure=False)
    detections = detection_answers(model.layout, spec.size, confidence=lowest, iou=_IOU)
    with OffloadedSession(lambda _: local, reuse, transport, options, video=packets, detections=detections) as session:
        loop = StreamLoop(
            session=session, detect=_as_it_is, placement=lambda: session.record.as_dict(),
            objects=reuse.planned if method.reuse in ("planned", "carried") else None,
            carrier=_carrier(spec, method, session), skipped=session.skip,
        )  # fmt: skip
        with nullcontext(loop) if method.within_ms is None else TimelyLoop(loop, method.within_ms) as answering:
            yield LiveStream(loop=answering, before=_nothing, linked=lambda: session.link.is_open, busy=model.busy)


def _carrier(spec: EdgeSpec, method: LiveMethod, session: OffloadedSession) -> ResultCarrier | None:
    """What answers frames by moving the last result, with the settings of the replay."""
    if method.reuse != "carried":
        return None
    found = _settled(spec, method)
    return ResultCarrier(found.skip, session.glance, LEAST_CERTAIN, session.changed)


def _reuse(spec: EdgeSpec, method: LiveMethod) -> ReuseOptions:
    """What the method reuses, as in the replay."""
    if method.reuse == "whole":
        return ReuseOptions(policy="planned")  # which nothing comes of, see `_NothingKept`
    return _settled(spec, method).options


def _settled(spec: EdgeSpec, method: LiveMethod) -> Reuse:
    """The method of the replay."""
    assert method.reuse != "whole"
    settings = Settings(scale=spec.scale, tau=spec.tau, tau_input=spec.tau_input, tau_features=spec.tau_features)
    found = methods_of(settings, 0, ablated=False)[method.reuse]
    assert isinstance(found, Reuse)
    return found


def _tls(folder: Path) -> ClientTls:
    return ClientTls(
        authority=folder / "ca.pem", certificate=folder / "edge.pem", key=folder / "edge.key", server_name=None
    )


def _local_model(spec: EdgeSpec, method: LiveMethod, model: EdgeModel, reuse: ReuseOptions) -> LocalModel:
    program = model.program
    if method.reuse == "whole":
        program = replace(program, make_test=lambda *_: _NothingKept())
    path, latency = spec.profiles.get(reuse.policy), OnlineLatency()
    if path is not None:
        latency = OnlineLatency.from_profile(slower(LatencyProfile.load(Path(path)).model, spec.slowdown))
    return LocalModel(program=program, weights=model.weights, compute=model.compute, latency=latency)


def slower(model: LatencyModel, factor: float) -> LatencyModel:
    """The latency of an endpoint that is slower by a factor."""
    return replace(
        model, base_ms=factor * model.base_ms, slopes_ms=tuple(factor * one for one in model.slopes_ms),
        knots=tuple((factor * linear, factor * ms) for linear, ms in model.knots),
    )  # fmt: skip


class _NothingKept:
    """See `ImageTest`: says of every frame that nothing of it may be reused, so that each one is computed whole."""

    def keyframe(self, image: Tensor) -> bool:
        return False

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Keeps nothing."""

    def set_levels(self, levels: object) -> None:
        """Keeps nothing."""

    def propose(self, image: Tensor, motion: MotionField | None) -> ShardProposal | None:
        return None

    def glance(self, image: Tensor, motion: MotionField | None) -> Mask | None:
        return None

    def commit(self, proposal: ShardProposal) -> None:
        """Has proposed nothing."""


def _as_it_is(found: Any) -> Any:
    """What comes down are detections already."""
    return found


def _nothing() -> None:
    pass
