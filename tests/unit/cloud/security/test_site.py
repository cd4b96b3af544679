"""The files of a site: made together, added to, and never replaced unasked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fluxshard.errors import OptionError, SecurityError

pytest.importorskip("cryptography", reason="cryptography is not installed: pip install '.[cloud]'")

from cryptography import x509

from fluxshard.cloud.security.pem_files import read_authorities, read_pair
from fluxshard.cloud.security.site import make_site
from fluxshard.cloud.security.tokens import read_secret


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_everything_is_made_and_can_be_used(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "site"
    site = make_site(directory, hosts=["cloud.example", "localhost"], clients=["cam1", "cam2", "cam1"], days=7)
    assert {path.name for path in site.made} == {
        "ca.pem", "ca.key", "server.pem", "server.key", "cam1.pem", "cam1.key", "cam2.pem", "cam2.key", "secret"
    }  # fmt: skip
    assert set(site.made) == set(directory.iterdir())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    read_pair(site.server.certificate, site.server.key, purpose="server")
    for pair in site.clients.values():
        read_pair(pair.certificate, pair.key, purpose="client")
    read_authorities(site.authority.certificate)
    read_secret(site.secret)
    names = x509.load_pem_x509_certificate(site.server.certificate.read_bytes()).extensions
    names = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["cloud.example", "localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_clients_are_added_later(tmp_path: Path) -> None:
    make_site(tmp_path)
    before = contents(tmp_path)
    assert "edge.pem" in before  # the one that a new site has
    site = make_site(tmp_path, clients=["cam2"])
    assert [path.name for path in site.made] == ["cam2.pem", "cam2.key"]
    assert {name: text for name, text in contents(tmp_path).items() if not name.startswith("cam2")} == before
    assert make_site(tmp_path).made == ()


def test_what_is_in_the_way_is_said_before_anything_is_written(tmp_path: Path) -> None:
    make_site(tmp_path, clients=["cam1"])
    before = contents(tmp_path)
    with pytest.raises(SecurityError, match="another name"):
        make_site(tmp_path, clients=["cam2", "cam1"])
    with pytest.raises(SecurityError, match="hosts were given"):
        make_site(tmp_path, clients=["cam2"], hosts=["cloud.example"])
    with pytest.raises(OptionError, match="cannot be named"):
        make_site(tmp_path, clients=["cam2", "../cam3"])
    for name in ("ca", "server"):
        with pytest.raises(OptionError, match="cannot be named"):
            make_site(tmp_path, clients=[name])
    assert contents(tmp_path) == before


def test_a_server_of_an_authority_that_is_gone(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    site.authority.key.unlink()
    with pytest.raises(SecurityError, match="bring it here"):
        make_site(tmp_path, clients=["cam1"])
    site.authority.certificate.unlink()
    with pytest.raises(SecurityError, match="its authority is gone"):
        make_site(tmp_path, clients=["cam1"])


def test_all_is_made_anew_on_demand(tmp_path: Path) -> None:
    make_site(tmp_path, clients=["cam1"])
    before = contents(tmp_path)
    make_site(tmp_path, clients=["cam1"], overwrite=True)
    after = contents(tmp_path)
    assert before.keys() == after.keys()
    assert not [name for name in after if after[name] == before[name]]
