"""A certificate authority of one's own, and certificates for servers and clients: ECDSA on P-256, X.509 version 3.

It is for tests, for one site, and for trying things out. Where there is a public key infrastructure already, its
certificates serve as well: nothing else here asks where a certificate came from.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fluxshard.cloud.security.identity import NAME_RULE, is_name
from fluxshard.errors import OptionError, SecurityError
from fluxshard.files import write_whole

AUTHORITY = "ca"  # name of the authority's files
AUTHORITY_DAYS, LEAF_DAYS = 3650, 365
_CLOCK_SKEW = timedelta(hours=1)  # edges without a battery for their clock start in the past
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate and its private key, both PEM; only their owner can read the key."""

    certificate: Path
    key: Path

    @classmethod
    def named(cls, directory: Path, name: str) -> CertificateFiles:
        """Where the files of a name are, or would be."""
        return cls(directory / f"{name}.pem", directory / f"{name}.key")

    def exist(self) -> bool:
        """Whether any of the two is there."""
        return self.certificate.exists() or self.key.exists()


def make_authority(
    directory: Path, *, days: int = AUTHORITY_DAYS, now: datetime | None = None, overwrite: bool = False
) -> CertificateFiles:
    """Makes an authority that can sign certificates but no other authorities: `ca.pem` and `ca.key`.

    Args:
      directory: exists.
      days: that it is valid for.
      now: when that begins; the present unless given.
      overwrite: an authority that is there may be replaced; what it signed is worth nothing then.

    Raises:
      OptionError: a number of days that is not allowed.
      SecurityError: there is one already.
      OSError: the files cannot be written.
    """
    files = CertificateFiles.named(directory, AUTHORITY)
    key = ec.generate_private_key(ec.SECP256R1())
    # two authorities must not share a subject, or a verifier would try the wrong key and say that a signature is bad
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    subject = _subject(f"FluxShard authority {identifier.digest.hex()[:16]}")
    usage = _key_usage(signs_certificates=True)
    certificate = (
        _builder(subject, subject, key.public_key(), *_validity(days, now))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return _write(files, certificate, key, overwrite)


def issue(
    directory: Path,
    name: str,
    *,
    kind: Literal["server", "client"],
    hosts: Sequence[str] = (),
    days: int = LEAF_DAYS,
    now: datetime | None = None,
    overwrite: bool = False,
) -> CertificateFiles:
    """Makes a certificate that the directory's authority signs: `<name>.pem` and `<name>.key`.

    Args:
      directory: holds `ca.pem` and `ca.key`.
      name: of the files, and the common name; of a client, its identity.
      kind: what the certificate is good for; one for servers is refused from a client, and the other way round.
      hosts: host names and IP addresses that a server is reached at.
      days: that it is valid for, at most until its authority expires.
      now: when that begins; the present unless given.
      overwrite: files that are there may be replaced.

    Raises:
      OptionError: a name, a host or a number of days that is not allowed, or a server without hosts.
      SecurityError: the authority is missing or damaged, or the files exist.
      OSError: the files cannot be written.
    """
    if not is_name(name) or name == AUTHORITY:
        raise OptionError(f"a certificate cannot be named {name!r}: {NAME_RULE}, and not {AUTHORITY!r}")
    if kind == "server" and not hosts:
        raise OptionError("a server's certificate needs the host names or IP addresses that clients connect to")
    alternatives = [_alternative(host) for host in hosts]
    begins, ends = _validity(days, now)
    authority, authority_key = _read_authority(directory)
    if authority.not_valid_after_utc <= begins:
        raise SecurityError(
            f"{directory / AUTHORITY}.pem expired on {authority.not_valid_after_utc:%Y-%m-%d}: make a new authority"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        _builder(_subject(name), authority.subject, key.public_key(), begins, min(ends, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_PURPOSES[kind]]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer_key, critical=False)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(authority_key, hashes.SHA256())
    return _write(CertificateFiles.named(directory, name), certificate, key, overwrite)


def _read_authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    files = CertificateFiles.named(directory, AUTHORITY)
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    except OSError as error:
        raise SecurityError(
            f"the authority cannot be read ({error.strerror}: {error.filename}): bring it here, or make one"
        ) from error
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise SecurityError(f"the authority in {directory} is damaged or encrypted: make a new one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise SecurityError(f"{files.key} is not the key of {files.certificate}: make a new authority")
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _validity(days: int, now: datetime | None) -> tuple[datetime, datetime]:
    if not 1 <= days <= 36500:
        raise OptionError(f"a certificate can be valid for 1 to 36500 days, not for {days}")
    begins = now or datetime.now(UTC)
    return begins - _CLOCK_SKEW, begins + timedelta(days=days)


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        labels = host.removeprefix("*.").split(".")
        if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
            raise OptionError(
                f"{host!r} is neither a host name nor an IP address: give names in ASCII (xn--... for others), without "
                "a port"
            ) from None
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(
    files: CertificateFiles, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, overwrite: bool
) -> CertificateFiles:
    if files.exist() and not overwrite:
        raise SecurityError(f"{files.certificate} or its key exists: delete both, or choose another name")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_whole(files.key, private, mode=0o600)
    write_whole(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return files
