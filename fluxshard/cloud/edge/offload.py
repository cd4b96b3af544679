"""`fluxshard.offload`: a compiled model's session in two places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from fluxshard.api import CompiledModel
from fluxshard.cloud.compute import compute_of
from fluxshard.cloud.decoding.fingerprint import decoder_fingerprint
from fluxshard.cloud.edge.connection.link import LinkState
from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import DetectionAnswers, LocalModel, Size, VideoPackets
from fluxshard.cloud.network.open_transport import open_transport
from fluxshard.errors import OptionError, warn
from fluxshard.options import ReuseOptions, check_kind, checked_options
from fluxshard.pipeline.profiling.measured import measured_of
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.runtime.offload.energy import EdgeEnergy
from fluxshard.runtime.offload.latency_profile import LatencyProfile
from fluxshard.runtime.offload.online_latency import OnlineLatency
from fluxshard.runtime.offload.transport import Transport
from fluxshard.runtime.threshold_profile import ThresholdProfile, weights_digest
from fluxshard.video import LiveSource, VideoSource


def offload(
    model: CompiledModel,
    server: str | Transport,
    *,
    reuse: ReuseOptions | None = None,
    options: OffloadOptions | None = None,
    video: VideoSource | LiveSource | None = None,
    detections: DetectionAnswers | None = None,
    on_link: Callable[[LinkState], None] = lambda _: None,
    on_settled: Callable[[PlacementRecord], None] = lambda _: None,
) -> OffloadedSession:
    """A video stream whose frames run here or on a server, whichever is done first.

    Args:
      model: as compiled for this machine.
      server: HOST:PORT of `fluxshard serve` with the same model; or a transport.
      reuse: what to reuse, on both endpoints; None takes planned reuse.
      options: how to share; the server's name has to be proven unless they say `insecure`.
      video: whose packets go up; for payload "bitstream". Open it with `packets=True`.
      detections: how outputs become detections; for answer "detections".
      on_link: is told, in another thread, when the link opens or is lost.
      on_settled: is given the record of every frame when nothing of it is under way any more, in order of frames.

    Returns:
      the session, a context manager. It does not wait for the server: until there is one, frames run here.

    Raises:
      OptionError: options that do not go together.
      SecurityError: a certificate that cannot be used, or plaintext to another machine.
      ProfileError: a profile that cannot be read.
    """
    check_kind("model", model, CompiledModel)
    options = checked_options(options, OffloadOptions)
    reuse = ReuseOptions(policy="planned") if reuse is None else checked_options(reuse, ReuseOptions, "reuse")
    check_server(server)
    check_kind("video", video, VideoSource, LiveSource, optional=True)
    thresholds = None if reuse.profile is None else ThresholdProfile.load(reuse.profile)
    if thresholds is not None:
        reuse = thresholds.reuse
    measured = None if options.latency_profile is None else LatencyProfile.load(options.latency_profile)
    transport = server if not isinstance(server, str) else _transport(server, options)

    def model_for(size: Size) -> LocalModel:
        program = model.specialise(torch.zeros(1, 3, *size)).program
        if thresholds is not None:
            thresholds.check(program.engine.plan, model.weights)
        fitting = _fitting(measured, options.latency_profile, model, reuse)
        return LocalModel(
            program=program,
            weights=weights_digest(program.engine.plan, model.weights),
            compute=compute_of(model),
            latency=OnlineLatency() if fitting is None else OnlineLatency.from_profile(fitting.model),
            energy=_energy(fitting, options.dispatch),
        )

    packets = None
    if options.payload == "bitstream":
        packets = _packets(video)
    return OffloadedSession(
        model_for,
        reuse,
        transport,
        options,
        video=packets,
        detections=detections,
        on_link=on_link,
        on_settled=on_settled,
    )


def check_server(server: object) -> None:
    """Raises OptionError unless it is an address or a transport."""
    if not isinstance(server, str) and not hasattr(server, "exchange"):
        raise OptionError(f"server (={server!r:.80}) is a {type(server).__name__}; give HOST:PORT, or a transport")


def _transport(server: str, options: OffloadOptions) -> Transport:
    return open_transport(server, tls=options.tls, token=options.token, insecure=options.insecure)


def _packets(video: VideoSource | LiveSource | None) -> VideoPackets:
    if video is None or video.packet_stream is None:
        raise OptionError(
            "payload (='bitstream') sends the video's packets: open it with packets=True and pass it as video="
        )
    return VideoPackets(
        stream=video.packet_stream, request_keyframe=video.request_keyframe, decoder=decoder_fingerprint()
    )


def _fitting(
    profile: LatencyProfile | None, path: Path | str | None, model: CompiledModel, reuse: ReuseOptions
) -> LatencyProfile | None:
    """What is known of the edge: nothing, where the profile is of something else."""
    if profile is None:
        return None
    differences = profile.differences(measured_of(model, reuse.policy))
    if differences:
        warn(
            f"latency profile {str(path)!r} does not fit ({'; '.join(differences)}): the first frames are measured "
            "instead"
        )
        return None
    return profile


def _energy(profile: LatencyProfile | None, dispatch: DispatchOptions) -> EdgeEnergy | None:
    if profile is not None and profile.energy_mj is not None and profile.rest_mw is not None:
        return EdgeEnergy(
            frame_mj=profile.energy_mj, rest_mw=profile.rest_mw, radio_mj_per_mib=dispatch.radio_mj_per_mib
        )
    if dispatch.minimize == "energy":
        warn(
            "minimize (='energy') needs a latency profile of this machine with energy (fluxshard profile, where there "
            "is a meter): latency decides instead"
        )
    return None
