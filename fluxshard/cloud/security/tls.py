"""TLS of a server and of its clients, as gRPC takes it.

gRPC's Python API sets no least version: it accepts 1.2 with AES-GCM, and 1.3, which both ends of this package choose.
So a server asks every connection for its version and serves 1.3 only (`require_tls_1_3`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc

from fluxshard.cloud.security.pem_files import read_authorities, read_pair
from fluxshard.errors import OptionError, SecurityError
from fluxshard.options import check_path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """Files of a server.

    Attributes:
      certificate: its chain, PEM, its own certificate first.
      key: its private key, PEM.
      client_authority: authorities of clients' certificates, PEM. A client without one is refused in the handshake.
        None asks for no certificate: clients have to bring tokens.
    """

    certificate: Path
    key: Path
    client_authority: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """Files of a client.

    Attributes:
      authority: authorities of the server's certificate, PEM.
      certificate: its own chain, PEM; None without one.
      key: its private key, PEM; None without a certificate.
      server_name: that the server's certificate has to carry; None takes the host that the client connects to.

    Raises:
      OptionError: a file that is no path, or no authority.
      SecurityError: one of certificate and key is missing.
    """

    authority: Path | str
    certificate: Path | str | None = None
    key: Path | str | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        files: dict[str, object] = {name: getattr(self, name) for name in ("authority", "certificate", "key")}
        for name, file in files.items():
            check_path(name, file)
        if files["authority"] is None:
            raise OptionError("authority is missing: give the ca.pem of the server's certificate")
        if (self.certificate is None) != (self.key is None):
            raise SecurityError("a client's certificate and its key go together: give both, or none")


def server_credentials(tls: ServerTls, now: datetime | None = None) -> grpc.ServerCredentials:
    """What `add_secure_port` takes, of files that were read and checked.

    Raises:
      SecurityError: a file is not usable; see `pem_files`.
    """
    pair = read_pair(tls.certificate, tls.key, purpose="server", now=now)
    authorities = None if tls.client_authority is None else read_authorities(tls.client_authority, now=now)
    return grpc.ssl_server_credentials(
        [(pair.key, pair.certificates)], authorities, require_client_auth=authorities is not None
    )


def channel_credentials(tls: ClientTls, now: datetime | None = None) -> grpc.ChannelCredentials:
    """What `secure_channel` takes, of files that were read and checked. Its options are `channel_options(tls)`.

    Raises:
      SecurityError: a file is not usable; see `pem_files`.
    """
    authorities = read_authorities(Path(tls.authority), now=now)
    if tls.certificate is None or tls.key is None:
        return grpc.ssl_channel_credentials(authorities)
    pair = read_pair(Path(tls.certificate), Path(tls.key), purpose="client", now=now)
    return grpc.ssl_channel_credentials(authorities, pair.key, pair.certificates)


def channel_options(tls: ClientTls | None) -> list[tuple[str, str | int]]:
    """Options of a channel that belong to its security.

    Args:
      tls: None for plaintext, which must not go through a proxy that an environment variable names.
    """
    if tls is None:
        return [("grpc.enable_http_proxy", 0)]
    return [] if tls.server_name is None else [("grpc.ssl_target_name_override", tls.server_name)]
