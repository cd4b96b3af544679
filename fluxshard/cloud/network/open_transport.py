"""The transport of an edge, from what a user says of the server."""

from __future__ import annotations

from dataclasses import replace

from fluxshard.cloud.network.following_transport import FollowingTransport
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.runtime.offload.transport import Transport


def open_transport(address: str, *, tls: ClientTls | None, token: str | None, insecure: bool) -> Transport:
    """To a server, or to the front of several. A server that a front names has to prove itself as the front does.

    Args:
      address: HOST:PORT.
      tls, token, insecure: as for `GrpcTransport`.

    Raises:
      OptionError, SecurityError: as `GrpcTransport`.
    """

    def follow(address: str, server_name: str) -> Transport:
        named = tls if tls is None or not server_name else replace(tls, server_name=server_name)
        return GrpcTransport(address, tls=named, token=token, insecure=insecure)

    return FollowingTransport(GrpcTransport(address, tls=tls, token=token, insecure=insecure), follow)
