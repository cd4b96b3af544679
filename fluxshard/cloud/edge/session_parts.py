"""What a session in two places is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fluxshard.cloud.compute import Compute
from fluxshard.models.detections.detections import Detections
from fluxshard.runtime.offload.energy import EdgeEnergy
from fluxshard.runtime.offload.online_latency import OnlineLatency
from fluxshard.runtime.stream import Program
from fluxshard.video.packet import PacketStream

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalModel:
    """The model as the edge has it, at one size of image.

    Attributes:
      program: runs it.
      weights: digest of its weights.
      compute: what it runs on.
      latency: of the edge, as it was profiled; nothing is known without a profile.
      energy: of the edge, as it was profiled; None where nothing is known.
    """

    program: Program
    weights: str
    compute: Compute
    latency: OnlineLatency = field(default_factory=OnlineLatency)
    energy: EdgeEnergy | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoPackets:
    """The video whose packets go up.

    Attributes:
      stream: what its packets have in common.
      request_keyframe: asks whoever encodes it for a keyframe.
      decoder: fingerprint of this machine's decoder and scaler.
    """

    stream: PacketStream
    request_keyframe: Callable[[], object]
    decoder: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectionAnswers:
    """How outputs become detections, here and on the server.

    Attributes:
      confidence: scores must be above it.
      iou: overlap above which the lower score is suppressed.
      of: from outputs to detections, with masks as windows.
    """

    confidence: float
    iou: float
    of: Callable[[Any], Detections]
