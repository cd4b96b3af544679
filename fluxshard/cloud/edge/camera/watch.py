"""`fluxshard.watch`: a video that a server watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import fluxshard
from fluxshard.api import CompiledModel
from fluxshard.cloud.edge.camera.camera_session import CameraSession
from fluxshard.cloud.edge.camera.options import WatchOptions
from fluxshard.cloud.edge.connection.link import LinkState
from fluxshard.cloud.edge.offload import check_server
from fluxshard.cloud.network.open_transport import open_transport
from fluxshard.cloud.wire.answer_codec import OutputsCodec
from fluxshard.cloud.wire.detections_codec import decode_detections
from fluxshard.cloud.wire.messages import PROTOCOL, budget_ms
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.reuse_codec import encode_reuse
from fluxshard.errors import OptionError
from fluxshard.options import ReuseOptions, check_kind, checked_options
from fluxshard.runtime.offload.transport import Transport
from fluxshard.runtime.stream import Program
from fluxshard.runtime.threshold_profile import ThresholdProfile, weights_digest
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.live.live_source import LiveSource
from fluxshard.video.packet import PacketStream
from fluxshard.video.sources.video_source import VideoSource


def watch(
    video: VideoSource | LiveSource,
    server: str | Transport,
    options: WatchOptions | None = None,
    *,
    model: CompiledModel | None = None,
    on_link: Callable[[LinkState], None] = lambda _: None,
) -> CameraSession:
    """Has a server watch a video: only its packets go up, and the server decides what to recompute.

    Args:
      video: opened with `packets=True`; `vectors="none"` spares the work of finding motion that nobody uses. Its size
        is that of the images that the server makes.
      server: HOST:PORT of `fluxshard serve`; or a transport.
      options: what the server is to do; its name has to be proven unless they say `insecure`.
      model: that the server has to run. Without, it is the only one that it runs at the video's size.
      on_link: is told, in another thread, when the link opens or is lost.

    Returns:
      the session, a context manager: `run` its frames.

    Raises:
      OptionError: a video without packets, or options that do not go together.
      ProfileError: a threshold profile that cannot be read, or belongs to another model.
      SecurityError: a certificate that cannot be used, or plaintext to another machine.
    """
    check_kind("video", video, VideoSource, LiveSource)
    options = checked_options(options, WatchOptions)
    check_server(server)
    check_kind("model", model, CompiledModel, optional=True)
    if video.packet_stream is None:
        raise OptionError("a server watches the packets of a video: open it with packets=True")
    if options.answer == "outputs" and model is None:
        raise OptionError("answer (='outputs') needs model= to know their shapes; use answer='detections'")
    reuse, weights = _thresholds(options.reuse)
    hello = _hello(video, video.packet_stream, reuse, weights, options)
    decode: Callable[[bytes], Any] = decode_detections
    if model is not None:
        program = model.specialise(torch.zeros(1, 3, *video.size)).program
        plan = program.engine.plan
        hello.plan, hello.weights = plan.digest(), weights_digest(plan, model.weights)
        if weights not in ("", hello.weights):
            raise OptionError("reuse.profile belongs to other weights than the model: calibrate this one")
        if options.answer == "outputs":
            decode = _outputs(program)
    transport = server
    if isinstance(transport, str):
        transport = open_transport(transport, tls=options.tls, token=options.token, insecure=options.insecure)
    return CameraSession(transport, hello, video.request_keyframe, decode, options, on_link=on_link)


def _thresholds(reuse: ReuseOptions) -> tuple[ReuseOptions, str]:
    """Options that can be sent, and the digest of the weights that they were found for; empty for any."""
    if reuse.profile is None:
        return reuse, ""
    thresholds = ThresholdProfile.load(reuse.profile)
    if thresholds.canvas_px:
        raise OptionError("a threshold profile with a canvas cannot be used on a server: calibrate without one")
    return thresholds.reuse, thresholds.weights


def _hello(
    video: VideoSource | LiveSource, stream: PacketStream, reuse: ReuseOptions, weights: str, options: WatchOptions
) -> pb.Hello:
    return pb.Hello(
        protocol=PROTOCOL,
        stream=options.stream,
        weights=weights,
        reuse=encode_reuse(reuse),
        payload="bitstream",
        answer=options.answer,
        picture_height=stream.picture_size[0],
        picture_width=stream.picture_size[1],
        version=fluxshard.__version__,
        budget_ms=budget_ms(options.deadline_ms),
        server_plans=True,
        confidence=options.confidence,
        iou=options.iou,
        # where the packets are encoded here, pictures are images already
        padded=not stream.encoded_here and video.letterbox == Letterbox(stream.picture_size, None),
        image_height=video.size[0],
        image_width=video.size[1],
    )


def _outputs(program: Program) -> Callable[[bytes], Any]:
    codec = OutputsCodec(program.engine.plan)
    return lambda data: program.unflatten(codec.decode(data))
