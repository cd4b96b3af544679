"""Whether a server may answer at all, or is slower than the edge even at its best: then nothing goes up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

SHARES = tuple(tenth / 10 for tenth in range(11))
"""Of work, at which both ends are compared: latency is nearly linear between."""

_IN_VAIN = 30  # frames in a row, a second of video: estimates jump, and coming back costs a keyframe
_LOOKED = 8  # frames of the server since it was asked last: one says little of what it takes now


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospects:
    """Whether a stream asks its server at all. Immutable: `after` gives the next one.

    It ceases when the server could not have answered any frame for a while, and asks again as soon as it could, or
    after so many seconds: the server, or the way to it, may have become faster.

    Attributes:
      alone_since_s: when it ceased to ask; None while it asks.
      in_vain: frames in a row that the server could not have answered.
      ran: frames that the server had run when the stream began to ask.
    """

    alone_since_s: float | None = None
    in_vain: int = 0
    ran: int = 0

    @property
    def asks(self) -> bool:
        """The server is asked."""
        return self.alone_since_s is None

    def after(self, may: bool, server_frames: int, now_s: float, second_look_s: float) -> Prospects:
        """With one more frame.

        Args:
          may: see `may_answer`.
          server_frames: that the server has run.
          now_s: on a monotonic clock.
          second_look_s: see `DispatchOptions`.
        """
        if self.alone_since_s is not None:
            again = may or now_s - self.alone_since_s > second_look_s
            return Prospects(ran=server_frames) if again else self
        in_vain = 0 if may else self.in_vain + 1
        if in_vain >= _IN_VAIN and server_frames - self.ran >= _LOOKED:
            return Prospects(alone_since_s=now_s)
        return replace(self, in_vain=in_vain, ran=min(self.ran, server_frames))


def may_answer(edge_and_cloud_ms: Iterable[tuple[float, float]], propagation_ms: float, margin_ms: float) -> bool:
    """Whether a server would be chosen for some frame.

    Both ends have a cache as new, so that they have the same work; the frame's bytes take no time, nor does any wait.

    Args:
      edge_and_cloud_ms: for each of `SHARES` of work, what the edge takes, and the server.
      propagation_ms: one way.
      margin_ms: by which the edge must be faster; see `DispatchOptions`.
    """
    return any(edge_ms >= cloud_ms + 2 * propagation_ms - margin_ms for edge_ms, cloud_ms in edge_and_cloud_ms)
