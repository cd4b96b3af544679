"""What is read from a connection's properties."""

from __future__ import annotations

import pytest

from fluxshard.cloud.security.peer import peer_identity, require_tls_1_3
from fluxshard.errors import SecurityError

SSL = {"transport_security_type": [b"ssl"]}


@pytest.mark.parametrize(
    ("properties", "identity"),
    [
        ({}, None),
        ({"x509_common_name": [b"edge-1"]}, "edge-1"),
        ({"x509_common_name": [b"edge-1"], "x509_subject_alternative_name": [b"other"]}, "edge-1"),
        ({"x509_common_name": [b""], "x509_subject_alternative_name": [b"cam.example"]}, "cam.example"),
        ({"x509_subject_alternative_name": [b"a", b"b"]}, None),
        ({"x509_common_name": [b"a", b"b"]}, None),
        ({"x509_common_name": [b"../edge"]}, None),
        ({"x509_common_name": ["kämera".encode()]}, None),
        ({"x509_common_name": [b"a" * 65]}, None),
    ],
)
def test_identity(properties: dict[str, list[bytes]], identity: str | None) -> None:
    assert peer_identity({**SSL, **properties}) == identity


def test_a_name_that_tls_has_not_verified_is_none() -> None:
    assert peer_identity({"x509_common_name": [b"edge"]}) is None
    assert peer_identity({"transport_security_type": [b"insecure"], "x509_common_name": [b"edge"]}) is None


def test_only_1_3_is_served() -> None:
    require_tls_1_3({"ssl_tls_version": [b"TLSv1.3"]})
    for versions in ([b"TLSv1.2"], [b"TLSv1.1"], [], [b""], [b"TLSv1.3", b"TLSv1.2"]):
        with pytest.raises(SecurityError, match=r"^this connection is not TLS 1\.3"):
            require_tls_1_3({**SSL, "ssl_tls_version": versions})
    with pytest.raises(SecurityError):
        require_tls_1_3(SSL)
