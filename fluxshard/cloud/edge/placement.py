"""Where a frame went, and all that the decision was made from: runs can be replayed from these records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs, Endpoint


@dataclass(slots=True, kw_only=True)
class PlacementRecord:
    """One frame of a session in two places. Final once `is_settled`: a frame may still be on its way after its answer.

    Attributes:
      frame: number within the stream, from 0.
      inputs: what was known.
      decision: what was made of it.
      answered_by: whose answer was taken; "none" where there was no edge to answer instead of the server.
      edge_ran, cloud_ran: which endpoints ran the frame and keep its features.
      edge_lost, cloud_lost: the endpoint had lost its cache since the frame before.
      edge_keyframe: the edge ran the frame whole.
      cloud_keyframe: the server was sent a keyframe; of one that plans: it has run the frame whole.
      server_planned: the server decides itself what it recomputes; `cloud_work` is then guessed.
      hedged: the edge was started because the cloud was late, refused, or lost.
      refreshed: the server was sent the frame, without being asked for an answer.
      cloud_outcome: "answered", "refused", "key needed", "lost", "late", or "not sent" where the link had closed by the
        time that the frame was ready; empty where the frame was meant for the edge alone.
      cloud_reason: in the server's or the link's words.
      cloud_open: why no frame could be sent; empty where one could.
      epoch: of the connection that was used.
      bytes_sent: for this frame.
      edge_tested: the edge's own image test was run before the frame was placed. Not where the edge could hardly have
        answered first, even with half of the work that is likely: then `inputs.edge_ms` is its time for that, with the
        test, and the test is run only where the frame comes back to the edge.
      edge_work, cloud_work: predicted, 0..1; None where an endpoint was not asked.
      edge_ms, cloud_ms: measured, from starting the frame there to its answer; None where it did not run.
      server: figures of the server in milliseconds, by name.
      pre_ms: from the call until an endpoint could begin: deciding, encoding, the wait for the edge's frame before.
      latency_ms: from the call to the answer.
      is_settled: nothing of the frame is under way.
    """

    frame: int
    inputs: DispatchInputs
    decision: Decision
    answered_by: Endpoint | Literal["none"] = "edge"
    edge_ran: bool = False
    cloud_ran: bool = False
    edge_lost: bool = False
    cloud_lost: bool = False
    edge_keyframe: bool = False
    cloud_keyframe: bool = False
    server_planned: bool = False
    hedged: bool = False
    refreshed: bool = False
    cloud_outcome: str = ""
    cloud_reason: str = ""
    cloud_open: str = ""
    epoch: int = 0
    bytes_sent: int = 0
    edge_tested: bool = True
    edge_work: float | None = None
    cloud_work: float | None = None
    edge_ms: float | None = None
    cloud_ms: float | None = None
    server: dict[str, float] | None = None
    pre_ms: float = 0.0
    latency_ms: float = 0.0
    is_settled: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)


def server_figures(result: pb.Result) -> dict[str, float]:
    """What a server says of a frame that it ran, for `PlacementRecord.server`."""
    return {
        "upload_ms": result.upload_ms,
        "queue_ms": result.queue_ms,
        "decode_ms": result.decode_ms,
        "inference_ms": result.inference_ms,
        "answer_ms": result.answer_ms,
        "server_ms": result.server_ms,
        "compute_ratio": result.compute_ratio,
        "recompute_ratio": result.work,
    }
