"""Which endpoint answers a frame: pure functions of what is known before it runs.

`decide` with the policy "paper" is stage 3 of the FluxShard paper's Algorithm 1. The policy "hedged" adds what the
paper leaves out: waiting, slow start, the tail of both endpoints, energy and deadlines. Every input is in
`DispatchInputs`, so that a run's decisions can be replayed from its records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fluxshard.errors import OptionError
from fluxshard.options import is_number

Endpoint = Literal["edge", "cloud"]
Policy = Literal["paper", "hedged"]
Goal = Literal["latency", "energy"]
_CHEAPER = "less energy"


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchOptions:
    """How frames are placed.

    Attributes:
      policy: "paper" is Algorithm 1; "hedged" is the default.
      margin_ms: epsilon of Algorithm 1: the edge must be faster by so much, or the cloud answers.
      tail_weight: lambda: how much the 95% quantile counts beside the expected time; 0 minimizes the mean.
      minimize: "latency", or "energy" of the edge among what meets the deadline.
        That needs a latency profile with energy; without, latency decides.
      deadline_ms: time within which a frame should be answered; None for none.
      radio_mj_per_mib: energy to send a MiB, which no meter of a board tells; for "energy".
      second_look_s: a server that is slower than the edge even at its best is sent nothing, and tried again after so
        many seconds, as it or the way to it may have become faster; 0 sends to it all the time. For "hedged" and
        "latency" without a deadline and weight of tails; see `prospects`.

    Raises:
      OptionError: a value that is not allowed.
    """

    policy: Policy = "hedged"
    margin_ms: float = 5.0
    tail_weight: float = 0.0
    minimize: Goal = "latency"
    deadline_ms: float | None = None
    radio_mj_per_mib: float = 0.0
    second_look_s: float = 30.0

    def __post_init__(self) -> None:
        if self.policy not in ("paper", "hedged"):
            raise OptionError(f"policy (={self.policy!r}) must be 'paper' or 'hedged'")
        if self.minimize not in ("latency", "energy"):
            raise OptionError(f"minimize (={self.minimize!r}) must be 'latency' or 'energy'")
        for name in ("margin_ms", "tail_weight", "radio_mj_per_mib", "second_look_s"):
            value = getattr(self, name)
            if not (is_number(value) and value >= 0):
                raise OptionError(f"{name} (={value!r}) must be a finite number of at least 0")
        if self.deadline_ms is not None and not (is_number(self.deadline_ms) and self.deadline_ms > 0):
            raise OptionError(f"deadline_ms (={self.deadline_ms!r}) must be a finite number above 0, or None")

    @property
    def may_do_without(self) -> bool:
        """Whether a server that is slower than the edge is of no use: expected times alone decide."""
        expected_alone = self.deadline_ms is None and not self.tail_weight
        return self.policy == "hedged" and self.minimize == "latency" and expected_alone and self.second_look_s > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchInputs:
    """What is known of a frame before it runs. Times in milliseconds; None where nothing is known.

    Attributes:
      edge_ms, cloud_ms: f_edge and f_cloud at the work that each endpoint's cache asks for.
      edge_wait_ms: until the edge is free.
      server_wait_ms: in the server's queue, as its last reply said.
      cloud_pre_ms: to encode the payload, and to decode it.
      upload_bytes: of the frame's payload.
      backlog_bytes: that wait before it.
      uplink_bytes_per_ms: B.
      slow_start_ms: extra time because the sender paused; 0 where it did not.
      propagation_ms: one way; the answer comes back as fast.
      edge_q95, cloud_q95: 95% quantile of measured over predicted time.
      edge_mj, cloud_mj: energy that the edge takes for each, in millijoules.
      cloud_open: there is a server that takes the frame now.
    """

    edge_ms: float | None
    cloud_ms: float | None
    edge_wait_ms: float = 0.0
    server_wait_ms: float = 0.0
    cloud_pre_ms: float = 0.0
    upload_bytes: int = 0
    backlog_bytes: int = 0
    uplink_bytes_per_ms: float | None = None
    slow_start_ms: float = 0.0
    propagation_ms: float = 0.0
    edge_q95: float = 1.0
    cloud_q95: float = 1.0
    edge_mj: float | None = None
    cloud_mj: float | None = None
    cloud_open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a frame goes, and why.

    Attributes:
      endpoint: that answers it.
      edge_ms, cloud_ms: expected times; None where they are not known.
      reason: in a few words.
    """

    endpoint: Endpoint
    edge_ms: float | None
    cloud_ms: float | None
    reason: str

    @property
    def accepted_ms(self) -> float:
        """Time of a cloud that was chosen for the edge's energy, faster or not; 0 where its time was the reason."""
        return (self.cloud_ms or 0.0) if (self.endpoint, self.reason) == ("cloud", _CHEAPER) else 0.0


def decide(inputs: DispatchInputs, options: DispatchOptions) -> Decision:
    """Places a frame.

    An endpoint of which nothing is known is tried, the edge first: it cannot fail, and what it takes is learnt.
    """
    edge_ms, cloud_ms = edge_time(inputs, options.policy), cloud_time(inputs, options.policy)

    endpoint, reason = _choose(inputs, options, edge_ms, cloud_ms)
    return Decision(endpoint=endpoint, edge_ms=edge_ms, cloud_ms=cloud_ms, reason=reason)


def _choose(
    inputs: DispatchInputs, options: DispatchOptions, edge_ms: float | None, cloud_ms: float | None
) -> tuple[Endpoint, str]:
    if not inputs.cloud_open:
        return "edge", "no server takes the frame"
    if edge_ms is None:
        return "edge", "the edge has not been measured"
    if cloud_ms is None:
        return "cloud", "the cloud has not been measured"
    if options.policy == "paper":
        return _faster(edge_ms, cloud_ms, options.margin_ms)
    edge_tail, cloud_tail = edge_ms * inputs.edge_q95, cloud_ms * inputs.cloud_q95
    deadline = options.deadline_ms
    edge_meets, cloud_meets = (deadline is None or tail <= deadline for tail in (edge_tail, cloud_tail))
    if edge_meets != cloud_meets:
        return "edge" if edge_meets else "cloud", "the other is likely to miss the deadline"
    if options.minimize == "energy" and edge_meets and inputs.edge_mj is not None and inputs.cloud_mj is not None:
        return "edge" if inputs.edge_mj < inputs.cloud_mj else "cloud", _CHEAPER
    weight = options.tail_weight
    return _faster(edge_ms + weight * edge_tail, cloud_ms + weight * cloud_tail, options.margin_ms)


def _faster(edge: float, cloud: float, margin_ms: float) -> tuple[Endpoint, str]:
    """Algorithm 1, line 7: the edge only where it is faster by more than epsilon."""
    return ("edge", "faster") if edge < cloud - margin_ms else ("cloud", "faster, or nearly as fast")


def edge_time(inputs: DispatchInputs, policy: Policy = "hedged") -> float | None:
    """T_edge. Source: Eq. 17 of the FluxShard paper; "hedged" adds the wait."""
    if inputs.edge_ms is None:
        return None
    return inputs.edge_ms + (inputs.edge_wait_ms if policy == "hedged" else 0.0)


def cloud_time(inputs: DispatchInputs, policy: Policy = "hedged") -> float | None:
    """T_cloud. Source: Eq. 18 of the FluxShard paper; "hedged" adds what the equation leaves out.

    Returns:
      f_cloud + bytes / B under "paper"; with preparation, slow start, backlog, propagation both ways and the server's
      queue under "hedged"; None where a term is not known.
    """
    if inputs.cloud_ms is None or not inputs.uplink_bytes_per_ms:
        return None
    if policy == "paper":
        return inputs.cloud_ms + inputs.upload_bytes / inputs.uplink_bytes_per_ms
    upload = (inputs.upload_bytes + inputs.backlog_bytes) / inputs.uplink_bytes_per_ms
    link = inputs.slow_start_ms + upload + 2 * inputs.propagation_ms
    return inputs.cloud_pre_ms + link + inputs.server_wait_ms + inputs.cloud_ms
