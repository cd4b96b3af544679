"""Who may open streams on a server, and who a caller is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from fluxshard.cloud.security.peer import peer_identity, require_tls_1_3
from fluxshard.cloud.security.tls import ServerTls
from fluxshard.cloud.security.tokens import MAX_TOKEN, read_token
from fluxshard.cloud.server.limits import Caller
from fluxshard.errors import OptionError, SecurityError

NO_NAME = "the certificate does not say who this is: one name of letters, digits and ._- is needed"
NO_TOKEN = "a token is needed: authorization: Bearer ..."

_BEARER = "bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAccess:
    """How callers prove who they are: by certificates, by tokens, or not at all, on this machine.

    Attributes:
      tls: the server's certificate, and the authority of its clients' ones.
      secret: of tokens, for clients without certificates.
      insecure: plaintext, and nobody has to prove anything.

    Raises:
      OptionError: none of the three, or several.
    """

    tls: ServerTls | None = None
    secret: bytes | None = field(default=None, repr=False)
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.insecure:
            if self.tls is not None or self.secret is not None:
                raise OptionError("--insecure takes neither certificates nor tokens: leave it out, or leave them out")
            return
        if self.tls is None:
            raise OptionError(
                "a server needs --tls-cert and --tls-key (`fluxshard certs` makes them), or --insecure on loopback"
            )
        if (self.tls.client_authority is None) == (self.secret is None):
            raise OptionError(
                "clients prove who they are by certificates or by tokens: give one of --client-ca and --token-secret"
            )

    @property
    def words(self) -> str:
        """For people."""
        if self.tls is None:
            return "plaintext"
        return "TLS and tokens" if self.secret is not None else "mTLS"

    def caller(self, context: Any) -> Caller:
        """Who makes a call.

        Args:
          context: of the call, `grpc.aio.ServicerContext`.

        Raises:
          SecurityError: nobody who may; the text can be sent back.
        """
        address = unquote(context.peer())
        if self.tls is None:
            return Caller(address=address)
        connection = context.auth_context()
        require_tls_1_3(connection)
        if self.secret is None:
            name = peer_identity(connection)
            if name is None:
                raise SecurityError(NO_NAME)
            return Caller(identity=name, address=address)
        found = read_token(self.secret, _token(context.invocation_metadata()), now=time.time())
        return Caller(identity=found.name, address=address, prefix=found.prefix)


def _token(metadata: Any) -> str:
    found = [value for name, value in metadata or () if name == "authorization" and isinstance(value, str)]
    if len(found) != 1 or len(found[0]) > MAX_TOKEN + len(_BEARER) or not found[0].lower().startswith(_BEARER):
        raise SecurityError(NO_TOKEN)
    return found[0][len(_BEARER) :].strip()
