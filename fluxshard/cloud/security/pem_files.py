"""Reads certificates and keys, and says in one line what is wrong with them, before anything listens or connects.

gRPC takes any bytes and reports what is wrong with them at the first handshake, to the log and to nobody else.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from fluxshard.cloud.security.bounded_file import read_bounded
from fluxshard.errors import SecurityError

Purpose = Literal["server", "client"]

# cryptography's errors have no base class; changing single bytes of a certificate found these
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_PURPOSES = {
    "server": (ExtendedKeyUsageOID.SERVER_AUTH, "serverAuth"),
    "client": (ExtendedKeyUsageOID.CLIENT_AUTH, "clientAuth"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate chain and its private key, as read: what was checked is what is used.

    Attributes:
      certificates: PEM, the owner's own first.
      key: PEM, not encrypted.
    """

    certificates: bytes
    key: bytes

    def __repr__(self) -> str:
        return "KeyPair(...)"  # a key must not get into logs


def read_pair(certificate: Path, key: Path, *, purpose: Purpose, now: datetime | None = None) -> KeyPair:
    """Reads and checks a certificate and its key. Warns where users other than its owner and group can read the key.

    Args:
      certificate: a PEM file; intermediate authorities may follow the certificate.
      key: a PEM file, not encrypted.
      purpose: what the certificate is to prove.
      now: the present unless given.

    Raises:
      SecurityError: a file cannot be read or is no PEM, the key is another's, encrypted or of a type that gRPC does not
        take, or the certificate is not valid now or not made for the purpose.
    """
    chain_pem = read_bounded(certificate)
    leaf = _certificates(chain_pem, certificate)[0]
    key_pem = read_bounded(key, secret=True)
    _check_key(_private_key(key_pem, key), leaf, key, certificate)
    _check_dates([leaf], certificate, now)
    _check_purpose(leaf, certificate, purpose)
    return KeyPair(certificates=chain_pem, key=key_pem)


def read_authorities(path: Path, *, now: datetime | None = None) -> bytes:
    """Reads and checks the certificates of authorities that peers are checked against.

    Args:
      path: a PEM file with one or more certificates.
      now: the present unless given.

    Raises:
      SecurityError: the file cannot be read or is no PEM, none of the certificates is valid now, or none is an
        authority's.
    """
    pem = read_bounded(path)
    found = _certificates(pem, path)
    authorities = [certificate for certificate in found if _is_authority(certificate)]
    if not authorities:
        raise SecurityError(f"{path} holds no certificate of an authority: give the ca.pem that signed the peer's")
    _check_dates(authorities, path, now)
    return pem


def _certificates(pem: bytes, path: Path) -> list[x509.Certificate]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities, which TLS judges at the handshake
            found = x509.load_pem_x509_certificates(pem)
            for one in found:  # all that is asked for later is parsed now
                _ = one.extensions, one.public_key(), one.subject, one.issuer
                _ = one.not_valid_before_utc, one.not_valid_after_utc
    except _UNREADABLE as error:
        raise SecurityError(f"{path} holds no readable PEM certificate (-----BEGIN CERTIFICATE-----)") from error
    return found


def _private_key(pem: bytes, path: Path) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError as error:
        raise SecurityError(f"{path} is encrypted; gRPC takes no password: openssl pkey -in KEY -out PLAIN") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SecurityError(f"{path} holds no readable PEM key (-----BEGIN PRIVATE KEY-----)") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise SecurityError(f"{path} is a key of a type that gRPC does not take: use ECDSA (P-256) or RSA")
    return key


def _check_key(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, leaf: x509.Certificate, path: Path, certificate: Path
) -> None:
    if key.public_key() != leaf.public_key():
        raise SecurityError(f"{path} is not the key of {certificate}, whose own certificate has to be its first")


def _check_dates(certificates: Sequence[x509.Certificate], path: Path, now: datetime | None) -> None:
    """One of the certificates has to be valid: bundles also hold expired ones."""
    moment = now or datetime.now(UTC)
    if any(one.not_valid_before_utc <= moment <= one.not_valid_after_utc for one in certificates):
        return
    first = certificates[0]
    if moment < first.not_valid_before_utc:
        raise SecurityError(
            f"{path} is valid from {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on; this machine's clock says "
            f"{moment:%Y-%m-%d %H:%M} UTC: set it right, or wait"
        )
    raise SecurityError(f"{path} expired on {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: have it issued anew")


def _check_purpose(leaf: x509.Certificate, path: Path, purpose: Purpose) -> None:
    """A certificate without the extension is good for all purposes. Source: RFC 5280, 4.2.1.12."""
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    identifier, name = _PURPOSES[purpose]
    if identifier not in usages and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usages:
        raise SecurityError(f"{path} is not made for a {purpose}: its extended key usage lacks {name}")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return certificate.subject == certificate.issuer  # version 1, or a server's own that is trusted as it is
