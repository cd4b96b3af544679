"""Bearer tokens for clients without certificates: who, which streams, until when, and a MAC of the server over it.

A token is three words with dots between: the scheme, the claims as base64url of JSON, and the HMAC-SHA256 over both.
Whoever has a token is its owner, so it travels inside of TLS only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import secrets
from pathlib import Path

from fluxshard.cloud.security.bounded_file import read_bounded
from fluxshard.cloud.security.identity import NAME_RULE, Identity, is_name
from fluxshard.errors import OptionError, SecurityError
from fluxshard.files import write_whole

SECRET_BYTES = 32
MAX_PREFIX = 128
MAX_TOKEN = 1024  # characters; checked before anything is decoded

BAD_TOKEN = "the token is not valid here"
EXPIRED_TOKEN = "the token has expired"
OTHER_STREAM = "the token is for other streams"

_SCHEME = "fluxshard1"


def make_secret(path: Path) -> None:
    """Writes a new secret, which only its owner can read. Tokens of another secret are not valid from then on.

    Raises:
      OSError: it cannot be written.
    """
    write_whole(path, secrets.token_bytes(SECRET_BYTES), mode=0o600)


def read_secret(path: Path) -> bytes:
    """The secret in a file, as it is. Warns where every user of the machine can open the file.

    Raises:
      SecurityError: the file cannot be read, or has fewer than `SECRET_BYTES`.
    """
    secret = read_bounded(path, secret=True)
    _check_secret(secret)
    return secret


def issue_token(secret: bytes, *, identity: str, prefix: str, expires: float) -> str:
    """A token for a client.

    Args:
      secret: of the server.
      identity: name of the client.
      prefix: what the names of its streams begin with, whole words (`Identity.may_open`); "" allows every name.
      expires: Unix time in seconds; the token is not valid from then on.

    Raises:
      OptionError: a name, a prefix or a time that is not allowed.
      SecurityError: the secret is too short.
    """
    if not is_name(identity):
        raise OptionError(f"identity (={identity!r}) must be {NAME_RULE}")
    if len(prefix) > MAX_PREFIX or not (prefix.isascii() and prefix.isprintable()):
        raise OptionError(f"prefix must be at most {MAX_PREFIX} printable ASCII characters")
    if not (math.isfinite(expires) and 0 < expires < 2**53):
        raise OptionError(f"expires (={expires!r}) must be a Unix time in seconds")
    claims = json.dumps({"id": identity, "prefix": prefix, "exp": math.floor(expires)}, separators=(",", ":"))
    signed = f"{_SCHEME}.{_text(claims.encode())}"
    return f"{signed}.{_mac(secret, signed)}"


def check_token(secret: bytes, token: str, *, stream: str, now: float) -> Identity:
    """Who brings a token, if it is good for a stream.

    Args:
      secret: of the server.
      token: as it came, from anyone.
      stream: name of the stream that the client wants to open.
      now: Unix time in seconds.

    Raises:
      SecurityError: as `read_token`, or `OTHER_STREAM`.
    """
    identity = read_token(secret, token, now=now)
    if not identity.may_open(stream):
        raise SecurityError(OTHER_STREAM)
    return identity


def read_token(secret: bytes, token: str, *, now: float) -> Identity:
    """Who brings a token; which streams it is good for is for the caller to check.

    Texts of errors are constant: they say nothing of the token, and can be sent to the client.

    Args:
      secret: of the server.
      token: as it came, from anyone.
      now: Unix time in seconds.

    Raises:
      SecurityError: `BAD_TOKEN` or `EXPIRED_TOKEN`; or the secret is too short.
    """
    if len(token) > MAX_TOKEN or not token.isascii():
        raise SecurityError(BAD_TOKEN)
    signed, _, mac = token.rpartition(".")
    # texts are compared, not bytes: several texts of base64 stand for the same bytes
    if not hmac.compare_digest(_mac(secret, signed), mac):
        raise SecurityError(BAD_TOKEN)
    identity = _claims(signed)  # whoever has the secret wrote this
    if identity.expires is None or not now < identity.expires:
        raise SecurityError(EXPIRED_TOKEN)
    return identity


def _claims(signed: str) -> Identity:
    scheme, _, text = signed.partition(".")
    if scheme != _SCHEME:
        raise SecurityError(BAD_TOKEN)
    try:
        claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return Identity(name=claims["id"], prefix=claims["prefix"], expires=claims["exp"])
    except (ValueError, TypeError, KeyError):
        raise SecurityError(BAD_TOKEN) from None


def _mac(secret: bytes, signed: str) -> str:
    _check_secret(secret)
    return _text(hmac.new(secret, signed.encode(), hashlib.sha256).digest())


def _check_secret(secret: bytes) -> None:
    if len(secret) < SECRET_BYTES:
        raise SecurityError(f"the secret has {len(secret)} bytes; at least {SECRET_BYTES} random ones are needed")


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
