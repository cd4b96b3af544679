"""What gRPC tells a server of a connection: its TLS version, and who the client is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fluxshard.cloud.security.identity import is_name
from fluxshard.errors import SecurityError

AuthContext = Mapping[str, Iterable[bytes]]

_OLD_TLS = "this connection is not TLS 1.3, which this server requires"


def peer_identity(auth_context: AuthContext) -> str | None:
    """The name in a client's certificate, which TLS has verified.

    It is the common name, or without one the only alternative name. A certificate with several, or with a name that
    is not allowed, proves no identity.

    Args:
      auth_context: as `grpc.aio.ServicerContext.auth_context()` returns it.

    Returns:
      None for a client without a certificate, and for plaintext.
    """
    if _values(auth_context, "transport_security_type") != ["ssl"]:
        return None
    names = _values(auth_context, "x509_common_name") or _values(auth_context, "x509_subject_alternative_name")
    return names[0] if len(names) == 1 and is_name(names[0]) else None


def require_tls_1_3(auth_context: AuthContext) -> None:
    """Refuses a connection of another version, or of one that gRPC does not tell.

    Raises:
      SecurityError: with a text that can be sent to the client.
    """
    if _values(auth_context, "ssl_tls_version") != ["TLSv1.3"]:
        raise SecurityError(_OLD_TLS)


def _values(auth_context: AuthContext, name: str) -> list[str]:
    """Those that are not empty: gRPC has an empty common name for a certificate without one."""
    return [value.decode("ascii", "replace") for value in auth_context.get(name, ()) if value]
