"""Whether a server may answer at all, or is slower than the edge even at its best: then nothing goes up."""

from __future__ import annotations

from collections.abc import Iterable

SHARES = tuple(tenth / 10 for tenth in range(11))
"""Of work, at which both ends are compared: latency is nearly linear between."""


def may_answer(edge_and_cloud_ms: Iterable[tuple[float, float]], propagation_ms: float, margin_ms: float) -> bool:
    """Whether a server would be chosen for some frame.

    Both ends have a cache as new, so that they have the same work; the frame's bytes take no time, nor does any wait.

    Args:
      edge_and_cloud_ms: for each of `SHARES` of work, what the edge takes, and the server.
      propagation_ms: one way.
      margin_ms: by which the edge must be faster; see `DispatchOptions`.
    """
    return any(edge_ms >= cloud_ms + 2 * propagation_ms - margin_ms for edge_ms, cloud_ms in edge_and_cloud_ms)
