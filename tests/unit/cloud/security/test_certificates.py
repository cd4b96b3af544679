"""Certificates: what is in them, who can read the keys, and what is refused."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fluxshard.errors import OptionError, SecurityError

pytest.importorskip("cryptography", reason="cryptography is not installed: pip install '.[cloud]'")

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from fluxshard.cloud.security.certificates import CertificateFiles, issue, make_authority


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_server_has_its_names_and_the_purpose_of_a_server(site: Path) -> None:
    certificate = read(site / "server.pem")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "cloud.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.public_key().curve.name == "secp256r1"
    certificate.verify_directly_issued_by(read(site / "ca.pem"))


def test_a_client_is_named_and_cannot_sign(site: Path) -> None:
    certificate = read(site / "edge.pem")
    assert certificate.subject.rfc4514_string() == "CN=edge"
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    authority = read(site / "ca.pem").extensions.get_extension_for_class(x509.BasicConstraints).value
    assert authority.ca and authority.path_length == 0
    assert certificate.serial_number != read(site / "server.pem").serial_number


def test_only_the_owner_can_read_keys(site: Path) -> None:
    keys = sorted(site.rglob("*.key"))
    assert len(keys) == 9
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_two_authorities_have_two_names(site: Path) -> None:
    assert read(site / "ca.pem").subject != read(site / "other" / "ca.pem").subject


def test_days_end_with_the_authority(tmp_path: Path) -> None:
    make_authority(tmp_path, days=3)
    issue(tmp_path, "edge", kind="client", days=1000)
    assert read(tmp_path / "edge.pem").not_valid_after_utc == read(tmp_path / "ca.pem").not_valid_after_utc
    issue(tmp_path, "brief", kind="client", days=1)
    rest = read(tmp_path / "brief.pem").not_valid_after_utc - datetime.now(UTC)
    assert timedelta(hours=23) < rest <= timedelta(days=1)


def test_an_expired_authority_signs_nothing(tmp_path: Path) -> None:
    make_authority(tmp_path, days=1, now=datetime.now(UTC) - timedelta(days=3))
    with pytest.raises(SecurityError, match="expired"):
        issue(tmp_path, "edge", kind="client")


@pytest.mark.parametrize("name", ["", "ca", "../edge", "a/b", ".edge", "e" * 65, "edge\n", "kamera ä"])
def test_names_that_are_not_allowed(name: str, site: Path) -> None:
    with pytest.raises(OptionError, match="cannot be named"):
        issue(site, name, kind="client")


@pytest.mark.parametrize("host", ["", "-a", "a..b", "a b", "1.2.3.256", "host:443", "höst", "*", "a.*.b", "[::1]"])
def test_hosts_that_are_none(host: str, site: Path, tmp_path: Path) -> None:
    make_authority(tmp_path)
    with pytest.raises(OptionError, match="neither a host name nor an IP address"):
        issue(tmp_path, "server", kind="server", hosts=[host])
    assert not (tmp_path / "server.key").exists()


def test_a_server_without_hosts_and_days_that_are_not_allowed(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="1 to 36500 days"):
        make_authority(tmp_path, days=0)
    make_authority(tmp_path)
    with pytest.raises(OptionError, match="needs the host names"):
        issue(tmp_path, "server", kind="server")
    issue(tmp_path, "server", kind="server", hosts=["*.example.com", "2001:db8::1"])


def test_what_exists_is_not_replaced_unasked(tmp_path: Path) -> None:
    files = make_authority(tmp_path)
    before = files.key.read_bytes()
    with pytest.raises(SecurityError, match="exists"):
        make_authority(tmp_path)
    assert files.key.read_bytes() == before
    make_authority(tmp_path, overwrite=True)
    assert files.key.read_bytes() != before
    issue(tmp_path, "edge", kind="client").certificate.unlink()
    with pytest.raises(SecurityError, match="exists"):
        issue(tmp_path, "edge", kind="client")
    assert CertificateFiles.named(tmp_path, "edge").exist()


def test_an_authority_that_is_missing_damaged_or_of_another_key(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="cannot be read"):
        issue(tmp_path, "edge", kind="client")
    files = make_authority(tmp_path)
    key = files.key.read_bytes()
    files.key.write_bytes(b"noise")
    with pytest.raises(SecurityError, match="damaged or encrypted"):
        issue(tmp_path, "edge", kind="client")
    make_authority(tmp_path, overwrite=True)
    files.key.write_bytes(key)
    with pytest.raises(SecurityError, match="is not the key of"):
        issue(tmp_path, "edge", kind="client")
