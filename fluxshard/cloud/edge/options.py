"""Options of a session in two places."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fluxshard.cloud.edge.connection.link import LinkOptions
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.errors import OptionError
from fluxshard.options import ReuseOptions, check_flag, check_kind, check_path, check_share, short_repr
from fluxshard.runtime.offload.dispatch import DispatchOptions

PayloadName = Literal["raw", "packed", "jpeg", "bitstream"]
Answer = Literal["outputs", "detections"]
ServerWork = Literal["auto", "edge", "server"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadOptions:
    """How a stream is shared between the edge and a server.

    Attributes:
      dispatch: where frames go.
      payload: what goes up. "bitstream": the video's own packets, where frames have them; "packed": pixels to
        recompute, lossless; "jpeg": the same, lossy; "raw": the same as they are, as in the FluxShard paper.
      server_work: who decides what the server recomputes. "edge": the edge tests a mirror of the server's cache, and
        masks and motion go up. "server": the server tests its cache itself, and nothing goes up but the video; for
        planned reuse with payload "bitstream". "auto": the server where it can.
      answer: what comes down: "outputs" of the network, or "detections", which are a thousandth of them.
      stream: name of the video stream on the server; unique for who proves to be the caller.
      keep_warm: while the edge answers, the server is sent what changed, so that its next frame is a small one.
      hedge_share: of frames that may run on both endpoints because the cloud is late.
      latency_profile: of this machine, as `fluxshard profile` writes it; None measures the first frames.
      tls: the certificate authority of the server, and the edge's own certificate.
      token: that says who the edge is, where it has no certificate.
      insecure: no TLS; for servers on this machine only.
      link: how patient the link is.

    Raises:
      OptionError: a value that is not allowed.
    """

    dispatch: DispatchOptions = field(default_factory=DispatchOptions)
    payload: PayloadName = "packed"
    server_work: ServerWork = "auto"
    answer: Answer = "outputs"
    stream: str = field(default_factory=lambda: f"{socket.gethostname()}/0"[:128])
    keep_warm: bool = True
    hedge_share: float = 0.05
    latency_profile: Path | str | None = None
    tls: ClientTls | None = None
    token: str | None = field(default=None, repr=False)
    insecure: bool = False
    link: LinkOptions = field(default_factory=LinkOptions)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.payload not in ("raw", "packed", "jpeg", "bitstream"):
            raise OptionError(f"payload (={self.payload!r}) must be 'raw', 'packed', 'jpeg' or 'bitstream'")
        if self.server_work not in ("auto", "edge", "server"):
            raise OptionError(f"server_work (={self.server_work!r}) must be 'auto', 'edge' or 'server'")
        if self.server_work == "server" and self.payload != "bitstream":
            raise OptionError(
                f"server_work (='server') needs the whole picture, and payload (={self.payload!r}) sends what the edge "
                "has found to be recomputed: use payload='bitstream'"
            )
        if self.answer not in ("outputs", "detections"):
            raise OptionError(f"answer (={self.answer!r}) must be 'outputs' or 'detections'")
        check_share("hedge_share", self.hedge_share)
        check_flag("keep_warm", self.keep_warm)
        check_path("latency_profile", self.latency_profile)
        check_kind("dispatch", self.dispatch, DispatchOptions)
        check_connection(self.stream, self.tls, self.token, self.insecure, self.link)

    def server_plans(self, reuse: ReuseOptions) -> bool:
        """Whether the server decides itself what it recomputes.

        Args:
          reuse: of the stream.
        """
        return self.server_work != "edge" and self.payload == "bitstream" and reuse.policy == "planned"


def check_connection(stream: object, tls: object, token: object, insecure: object, link: object) -> None:
    """Raises OptionError unless these are what options of a stream on a server allow."""
    if not (isinstance(stream, str) and stream):
        raise OptionError(f"stream (={stream!r}) must name the video stream")
    check_kind("tls", tls, ClientTls, optional=True)
    if not (token is None or isinstance(token, str)):
        raise OptionError("token must be text, or None")
    check_flag("insecure", insecure)
    check_kind("link", link, LinkOptions)
