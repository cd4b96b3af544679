"""Files of certificates and keys: whatever is wrong is one line, before anything listens."""

from __future__ import annotations

import os
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import SecurityError

pytest.importorskip("cryptography", reason="cryptography is not installed: pip install '.[cloud]'")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from fluxshard.cloud.security.pem_files import read_authorities, read_pair

PKCS8 = serialization.PrivateFormat.PKCS8
PEM = serialization.Encoding.PEM


def refused(call) -> str:
    with pytest.raises(SecurityError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def self_signed(directory: Path, key, *, extension: x509.ExtensionType | None = None) -> tuple[Path, Path]:
    """A certificate that is its own authority, with a key of any type."""
    now, name = datetime.now(UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    (directory / "self.pem").write_bytes(builder.sign(key, digest).public_bytes(PEM))
    (directory / "self.key").write_bytes(key.private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    (directory / "self.key").chmod(0o600)
    return directory / "self.pem", directory / "self.key"


def test_good_files_come_back_as_they_are(site: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pair = read_pair(site / "server.pem", site / "server.key", purpose="server")
        authorities = read_authorities(site / "ca.pem")
    assert pair.certificates == (site / "server.pem").read_bytes() and pair.key == (site / "server.key").read_bytes()
    assert authorities == (site / "ca.pem").read_bytes()
    assert "PRIVATE" not in repr(pair)


def test_files_that_cannot_be_read(site: Path, tmp_path: Path) -> None:
    key = site / "server.key"
    assert "No such file" in refused(lambda: read_pair(tmp_path / "no.pem", key, purpose="server"))
    assert "No such file" in refused(lambda: read_pair(site / "server.pem", tmp_path / "no.key", purpose="server"))
    assert "Is a directory" in refused(lambda: read_authorities(tmp_path))
    (tmp_path / "large.pem").write_bytes(b"x" * ((1 << 20) + 1))
    assert "more than 1048576 bytes" in refused(lambda: read_authorities(tmp_path / "large.pem"))


def test_files_that_are_no_pem(site: Path, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(500))
    noise.chmod(0o600)
    assert "no readable PEM certificate" in refused(lambda: read_authorities(noise))
    assert "no readable PEM certificate" in refused(lambda: read_pair(noise, site / "edge.key", purpose="client"))
    assert "no readable PEM key" in refused(lambda: read_pair(site / "edge.pem", noise, purpose="client"))
    swapped = refused(lambda: read_pair(site / "edge.key", site / "edge.pem", purpose="client"))
    assert "no readable PEM certificate" in swapped


def test_a_key_of_another_certificate(site: Path) -> None:
    message = refused(lambda: read_pair(site / "server.pem", site / "edge.key", purpose="server"))
    assert "edge.key is not the key of" in message


def test_an_encrypted_key(site: Path, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key((site / "edge.key").read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"password")))
    locked.chmod(0o600)
    assert "is encrypted" in refused(lambda: read_pair(site / "edge.pem", locked, purpose="client"))


def test_a_key_of_a_type_that_grpc_does_not_take(tmp_path: Path) -> None:
    pem, key = self_signed(tmp_path, ed25519.Ed25519PrivateKey.generate())
    assert "use ECDSA" in refused(lambda: read_pair(pem, key, purpose="server"))


def test_certificates_that_are_not_valid_now(site: Path) -> None:
    expired = refused(lambda: read_pair(site / "expired-edge.pem", site / "expired-edge.key", purpose="client"))
    assert "expired on" in expired
    early = refused(lambda: read_pair(site / "early-edge.pem", site / "early-edge.key", purpose="client"))
    assert "is valid from" in early and "clock" in early
    far = datetime.now(UTC) + timedelta(days=36500)
    assert "expired on" in refused(lambda: read_authorities(site / "ca.pem", now=far))
    read_pair(site / "early-edge.pem", site / "early-edge.key", purpose="client", now=datetime.now(UTC) + timedelta(40))


def test_a_certificate_for_another_purpose(site: Path) -> None:
    message = refused(lambda: read_pair(site / "edge.pem", site / "edge.key", purpose="server"))
    assert "not made for a server" in message and "serverAuth" in message
    assert "clientAuth" in refused(lambda: read_pair(site / "server.pem", site / "server.key", purpose="client"))


def test_a_certificate_that_names_no_purpose_is_good_for_all(tmp_path: Path) -> None:
    pem, key = self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    read_pair(pem, key, purpose="server")
    read_pair(pem, key, purpose="client")
    assert read_authorities(pem) == pem.read_bytes()


def test_authorities_have_to_be_some(site: Path, tmp_path: Path) -> None:
    assert "no certificate of an authority" in refused(lambda: read_authorities(site / "server.pem"))
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes((site / "server.pem").read_bytes() + (site / "ca.pem").read_bytes())
    assert read_authorities(bundle) == bundle.read_bytes()


def test_a_key_that_everyone_can_read_is_a_warning(site: Path, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_bytes((site / "edge.key").read_bytes())
    for mode, warned in ((0o644, True), (0o602, True), (0o640, False), (0o600, False)):
        key.chmod(mode)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            read_pair(site / "edge.pem", key, purpose="client")
        assert [w for w in seen if "must be secret" in str(w.message)] == seen and len(seen) == warned


@given(st.data())
def test_damage_is_an_error_of_ours_or_changes_nothing_that_counts(site: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["server.pem", "server.key"]))
    content = bytearray((site / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = site / f"damaged-{name}"
    damaged.write_bytes(content)
    damaged.chmod(0o600)
    pem, key = (damaged, site / "server.key") if name.endswith("pem") else (site / "server.pem", damaged)
    try:
        read_pair(pem, key, purpose="server")
    except SecurityError as error:
        assert "\n" not in str(error)
    finally:
        damaged.unlink()
