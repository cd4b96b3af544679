"""Who may open streams: combinations of options, and callers as gRPC describes them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

from fluxshard.cloud.network.access import NO_NAME, NO_TOKEN, ServerAccess
from fluxshard.cloud.security.tls import ServerTls
from fluxshard.cloud.security.tokens import BAD_TOKEN, MAX_TOKEN, SECRET_BYTES, issue_token
from fluxshard.errors import OptionError, SecurityError

SECRET = bytes(SECRET_BYTES)
TLS = ServerTls(certificate=Path("c"), key=Path("k"), client_authority=None)
MUTUAL = ServerTls(certificate=Path("c"), key=Path("k"), client_authority=Path("a"))


@dataclass
class Context:
    """A call."""

    authorizations: list[str | bytes] = field(default_factory=list)
    names: list[bytes] = field(default_factory=lambda: [b"edge"])
    version: bytes = b"TLSv1.3"

    def peer(self) -> str:
        return "ipv6:%5B::1%5D:1234"

    def auth_context(self) -> dict[str, list[bytes]]:
        return {
            "transport_security_type": [b"ssl"],
            "ssl_tls_version": [self.version],
            "x509_common_name": self.names,
        }

    def invocation_metadata(self) -> list[tuple[str, str | bytes]]:
        return [("user-agent", "x"), *(("authorization", text) for text in self.authorizations)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--tls-cert"),
        ({"secret": SECRET}, "--tls-cert"),
        ({"tls": TLS}, "--client-ca and --token-secret"),
        ({"tls": MUTUAL, "secret": SECRET}, "--client-ca and --token-secret"),
        ({"insecure": True, "tls": TLS}, "--insecure takes neither"),
        ({"insecure": True, "secret": SECRET}, "--insecure takes neither"),
    ],
)
def test_options_that_do_not_go_together(options, words) -> None:
    with pytest.raises(OptionError, match=words):
        ServerAccess(**options)


def test_the_secret_is_not_shown() -> None:
    assert "x00" not in repr(ServerAccess(tls=TLS, secret=SECRET))


def test_words_for_people() -> None:
    access = [ServerAccess(tls=MUTUAL), ServerAccess(tls=TLS, secret=SECRET), ServerAccess(insecure=True)]
    assert [one.words for one in access] == ["mTLS", "TLS and tokens", "plaintext"]


def test_callers() -> None:
    assert ServerAccess(insecure=True).caller(Context()).identity == ""
    caller = ServerAccess(tls=MUTUAL).caller(Context())
    assert (caller.identity, caller.prefix, caller.address) == ("edge", "", "ipv6:[::1]:1234")
    token = issue_token(SECRET, identity="cam1", prefix="depot/", expires=time.time() + 60)
    for scheme in ("Bearer", "bearer"):
        caller = ServerAccess(tls=TLS, secret=SECRET).caller(Context([f"{scheme} {token}"]))
        assert (caller.identity, caller.prefix) == ("cam1", "depot/")


@pytest.mark.parametrize("names", [[], [b""], [b"a", b"b"], [b"../x"]])
def test_certificates_that_name_nobody(names) -> None:
    with pytest.raises(SecurityError, match=NO_NAME[:20]):
        ServerAccess(tls=MUTUAL).caller(Context(names=names))


@pytest.mark.parametrize("access", [ServerAccess(tls=MUTUAL), ServerAccess(tls=TLS, secret=SECRET)])
def test_old_tls_is_refused_before_anything_is_read(access: ServerAccess) -> None:
    with pytest.raises(SecurityError, match="not TLS 1"):
        access.caller(Context(version=b"TLSv1.2"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], NO_TOKEN),
        (["Basic abc"], NO_TOKEN),
        (["Bearer"], NO_TOKEN),
        (["Bearer a", "Bearer b"], NO_TOKEN),
        ([b"Bearer a"], NO_TOKEN),
        (["Bearer " + "x" * (MAX_TOKEN + 1)], NO_TOKEN),
        (["Bearer "], BAD_TOKEN),
        (["Bearer x"], BAD_TOKEN),
        (["Bearer ä.ö.ü"], BAD_TOKEN),
    ],
)
def test_authorizations_that_are_none(given, words) -> None:
    with pytest.raises(SecurityError) as caught:
        ServerAccess(tls=TLS, secret=SECRET).caller(Context(given))
    assert str(caught.value) == words
