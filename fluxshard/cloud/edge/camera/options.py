"""Options of a video that a server watches."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from fluxshard.cloud.edge.connection.link import LinkOptions
from fluxshard.cloud.edge.options import Answer, check_connection
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.errors import OptionError
from fluxshard.options import ReuseOptions, check_kind, check_share, is_number, short_repr


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """What a server is to do with a video, and how long a frame waits for it.

    Attributes:
      reuse: what the server reuses.
      answer: what comes down: "detections", or the network's "outputs", for which the model is needed here as well.
      confidence: detections score above it.
      iou: overlap above which the lower score is suppressed.
      deadline_ms: after which a frame goes without an answer; None waits until the server or the link has failed.
      stream: name of the video stream on the server; unique for who proves to be the caller.
      first_wait_s: that the first frame waits for a server: it may be the video's only keyframe.
      tls: the certificate authority of the server, and the camera's own certificate.
      token: that says who the camera is, where it has no certificate.
      insecure: no TLS; for servers on this machine only.
      link: how patient the link is.

    Raises:
      OptionError: a value that is not allowed.
    """

    reuse: ReuseOptions = field(default_factory=lambda: ReuseOptions(policy="planned"))
    answer: Answer = "detections"
    confidence: float = 0.25
    iou: float = 0.7
    deadline_ms: float | None = None
    stream: str = field(default_factory=lambda: f"{socket.gethostname()}/0"[:128])
    first_wait_s: float = 5.0
    tls: ClientTls | None = None
    token: str | None = field(default=None, repr=False)
    insecure: bool = False
    link: LinkOptions = field(default_factory=LinkOptions)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.answer not in ("outputs", "detections"):
            raise OptionError(f"answer (={self.answer!r}) must be 'outputs' or 'detections'")
        check_kind("reuse", self.reuse, ReuseOptions)
        check_share("confidence", self.confidence)
        check_share("iou", self.iou)
        if self.deadline_ms is not None and not (is_number(self.deadline_ms) and self.deadline_ms > 0):
            raise OptionError(f"deadline_ms (={self.deadline_ms!r}) must be a finite number above 0, or None")
        if not (is_number(self.first_wait_s) and self.first_wait_s >= 0):
            raise OptionError(f"first_wait_s (={self.first_wait_s!r}) must be a finite number of at least 0")
        check_connection(self.stream, self.tls, self.token, self.insecure, self.link)
