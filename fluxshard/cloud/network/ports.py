"""Whether a server can listen somewhere: asked before anything slow is done, not only when it begins."""

from __future__ import annotations

import socket

from fluxshard.cloud.security.access import resolve, split_address
from fluxshard.errors import TransportError


def check_free(address: str) -> None:
    """Takes a port, and gives it back at once.

    Raises:
      OptionError: no address.
      SecurityError: a host that is not known.
      TransportError: the port cannot be taken.
    """
    host, port = split_address(address)
    for ip in resolve(host):
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((ip, port))
                probe.listen(1)
        except OSError as error:
            raise cannot_listen(address, error.strerror or "") from error


def cannot_listen(address: str, why: str = "") -> TransportError:
    """The error of a port that cannot be taken."""
    reason = f" ({why.lower()})" if why else ""
    return TransportError(
        f"cannot listen on {address}{reason}: another program has the port, it is reserved, or this machine has no "
        "such address"
    )
