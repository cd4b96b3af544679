"""Ports that are taken are noticed before anything slow, and given back."""

from __future__ import annotations

import socket

import pytest

from fluxshard.cloud.network.ports import check_free
from fluxshard.errors import OptionError, SecurityError, TransportError


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TransportError, match=rf"cannot listen on {address} \(address already in use\)"):
            check_free(address)
    check_free(address)
    check_free(address)  # it was given back


def test_addresses_that_are_not_of_this_machine() -> None:
    with pytest.raises(TransportError, match="no such address"):
        check_free("192.0.2.1:7788")
    with pytest.raises(SecurityError, match="cannot be resolved"):
        check_free("no-such-host.invalid:7788")
    with pytest.raises(OptionError, match="is not an address"):
        check_free("7788")
