"""Statistics of one frame, in the terms of the paper's evaluation."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from fluxshard.motion import MotionSource

_TAKEN = (
    "compute_ratio", "tx_ratio", "latency_ms", "edge_pre_ms", "server_pre_ms", "transmission_ms", "inference_ms",
    "post_ms", "overhead_ms", "bytes_sent", "layers_executed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStats:
    """Measurements of one frame.

    Attributes:
      frame: number within the stream, from 0.
      keyframe: everything was recomputed (first frame, change of size, scene cut).
      recompute_ratio: pixels in the recompute set S_0 over all pixels.
      compute_ratio: executed multiply-accumulates over those of the dense network.
      tx_ratio: bytes sent over bytes of the raw RGB frame; 0 where nothing is offloaded.
      latency_ms: from the call to the result; the sum of the parts below.
      edge_pre_ms, server_pre_ms: checks and workload estimation on the device and on the server.
      transmission_ms: time on the link.
      inference_ms: the network's step.
      post_ms: assembling what the caller gets.
      overhead_ms: the part of inference_ms outside convolutions and islands; 0 where the engine does not measure it.
      motion_source: "given": motion came with the frame; "none": the frame was compared at zero displacement.
      placement: where the frame ran; "none" where there was only a server, which has not answered.
      bytes_sent: over the link.
      layers_executed: layers that evaluated at least one cell.
    """

    frame: int
    keyframe: bool
    recompute_ratio: float
    compute_ratio: float
    tx_ratio: float
    latency_ms: float
    edge_pre_ms: float
    server_pre_ms: float
    transmission_ms: float
    inference_ms: float
    post_ms: float
    overhead_ms: float
    motion_source: MotionSource
    placement: Literal["edge", "cloud", "none"]
    bytes_sent: int
    layers_executed: int

    def __repr__(self) -> str:
        kind = "keyframe, " if self.keyframe else ""
        return f"FrameStats(frame {self.frame}, {kind}{self.compute_ratio:.1%} computed, {self.latency_ms:.1f} ms)"

    def _repr_html_(self) -> str:
        """All measurements as a table, for notebooks."""
        rows = "".join(f"<tr><th>{name}</th><td>{_shown(value)}</td></tr>" for name, value in self.as_dict().items())
        return f"<table><tbody>{rows}</tbody></table>"

    def with_that_of(self, other: FrameStats) -> FrameStats:
        """These, with the work, the times and the bytes of both, for an answer that took two runs."""
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in _TAKEN})

    def without_work(self, latency_ms: float) -> FrameStats:
        """These, for an answer that took no run.

        Args:
          latency_ms: that it took.
        """
        nothing: dict[str, Any] = {name: type(getattr(self, name))(0) for name in _TAKEN}
        taken = nothing | {"latency_ms": latency_ms, "edge_pre_ms": latency_ms}
        return replace(self, keyframe=False, recompute_ratio=0.0, **taken)

    def as_dict(self) -> dict[str, object]:
        """Plain values by name, for JSON."""
        return asdict(self)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))
