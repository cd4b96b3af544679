"""Where plaintext may go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cloud.security.access import checked_address, is_loopback, resolve, split_address
from fluxshard.errors import OptionError, SecurityError

NAMES = {
    "here": ["127.0.0.1"],
    "here6": ["::1"],
    "two": ["::1", "127.0.0.1"],
    "there": ["192.0.2.1"],
    "both": ["127.0.0.1", "192.0.2.1"],
    "no": [],
}


def resolver(host: str) -> list[str]:
    return NAMES.get(host, [host])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "::", "10.0.0.1", "192.0.2.1", "::ffff:10.0.0.1", "fe80::1", "", "localhost", "127.1", "128.0.0.1"],
)
def test_what_is_not_loopback(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("localhost:50051", ("localhost", 50051)),
        ("1.2.3.4:0", ("1.2.3.4", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        "host:",
        ":5",
        "::1:5",
        "host:65536",
        "host:-1",
        "[::1]",
        "a:b:1",
        "h:１",
        "ö:1",
        "a b:1",
        "h:1\n",
        "unix:/tmp/socket",
    ],
)
def test_texts_that_are_no_addresses(address: str) -> None:
    with pytest.raises(OptionError, match="HOST:PORT"):
        split_address(address)


def test_tls_may_go_anywhere() -> None:
    assert checked_address("there:5", tls=True, insecure=False, resolver=resolver) == "there:5"
    assert checked_address("[::]:5", tls=True, insecure=False, resolver=resolver) == "[::]:5"


def test_plaintext_is_asked_for_and_stays_here() -> None:
    assert checked_address("here:5", tls=False, insecure=True, resolver=resolver) == "127.0.0.1:5"
    assert checked_address("here6:5", tls=False, insecure=True, resolver=resolver) == "[::1]:5"
    assert checked_address("two:5", tls=False, insecure=True, resolver=resolver) == "127.0.0.1:5"
    assert checked_address("127.0.0.9:5", tls=False, insecure=True) == "127.0.0.9:5"
    assert checked_address("localhost:5", tls=False, insecure=True) in ("127.0.0.1:5", "[::1]:5")


@pytest.mark.parametrize("host", ["there", "both", "no", "0.0.0.0", "[::]", "192.0.2.7"])
def test_plaintext_that_would_leave_this_machine(host: str) -> None:
    with pytest.raises(SecurityError, match="--insecure is for loopback only"):
        checked_address(f"{host}:5", tls=False, insecure=True, resolver=resolver)


def test_plaintext_that_nobody_asked_for() -> None:
    with pytest.raises(SecurityError, match="without TLS"):
        checked_address("here:5", tls=False, insecure=False, resolver=resolver)
    with pytest.raises(OptionError, match="leave one out"):
        checked_address("here:5", tls=True, insecure=True, resolver=resolver)


def test_a_host_that_is_not_known() -> None:
    with pytest.raises(SecurityError, match="cannot be resolved"):
        resolve("no-such-host.invalid")


@given(st.ip_addresses())
def test_an_address_is_checked_as_it_is(ip) -> None:
    text = f"[{ip}]:5" if ip.version == 6 else f"{ip}:5"
    try:
        found = checked_address(text, tls=False, insecure=True)
    except SecurityError:
        assert not is_loopback(str(ip))
    else:
        assert is_loopback(split_address(found)[0])
