"""The kernel's TCP settings, read from a tree of files and a command that are made up."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cloud.tcp_settings import tcp_settings
from fluxshard.errors import OptionError

FILES = {
    "ipv4/tcp_slow_start_after_idle": "1\n",
    "ipv4/tcp_congestion_control": "bbr\n",
    "ipv4/tcp_available_congestion_control": "reno bbr cubic\n",
    "ipv4/tcp_rmem": "4096\t131072\t33554432\n",
    "ipv4/tcp_wmem": "4096\t16384\t4194304\n",
    "core/default_qdisc": "fq_codel\n",
}


def system(root: Path, ip: str | None = None, **changed: str | None) -> Path:
    for name, text in {**FILES, **{key.replace("__", "/"): value for key, value in changed.items()}}.items():
        path = root / "proc/sys/net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text)
    if ip is not None:
        command = root / "sbin/ip"
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\n{ip}\n")
        command.chmod(0o755)
    return root


def test_all_settings(tmp_path: Path) -> None:
    found = tcp_settings(system(tmp_path, 'echo "default via 192.0.2.1 dev eth0 initcwnd 64 congctl lock cubic "'))
    assert dataclasses.asdict(found) == {
        "slow_start_after_idle": True,
        "congestion_control": "bbr",
        "available": ("reno", "bbr", "cubic"),
        "default_qdisc": "fq_codel",
        "receive_bytes": (4096, 131072, 33554432),
        "send_bytes": (4096, 16384, 4194304),
        "route": "default",
        "route_initcwnd": 64,
        "route_congestion_control": "cubic",
    }


def test_slow_start_that_is_off_and_a_route_of_its_own(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        'test "$*" = "-o route get 10.9.0.5" && echo "10.9.0.5 dev tl0 uid 0 \\\\    cache initcwnd 32 congctl reno "',
        ipv4__tcp_slow_start_after_idle="0\n",
    )
    found = tcp_settings(root, peer="10.9.0.5")
    assert found.slow_start_after_idle is False
    assert (found.route, found.route_initcwnd, found.route_congestion_control) == ("10.9.0.5", 32, "reno")
    assert tcp_settings(root).route is None


def test_only_the_preferred_default_route_counts(tmp_path: Path) -> None:
    found = tcp_settings(system(tmp_path, 'echo "default dev a metric 1"; echo "default dev b metric 2 initcwnd 9"'))
    assert (found.route, found.route_initcwnd) == ("default", None)


@pytest.mark.parametrize("ip", [None, "exit 1", "echo initcwnd", "printf '\\377\\377'", "echo default initcwnd x"])
def test_a_command_that_does_not_tell(ip: str | None, tmp_path: Path) -> None:
    found = tcp_settings(system(tmp_path, ip))
    assert found.route_initcwnd is None and found.route_congestion_control is None


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    found = dataclasses.asdict(tcp_settings(tmp_path))
    assert found.pop("available") == ()
    assert set(found.values()) == {None}


@given(st.binary(max_size=50))
def test_any_content_of_the_files_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.mktemp("root")
    for name in FILES:
        path = root / "proc/sys/net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    tcp_settings(root)


@pytest.mark.parametrize("peer", ["host", "", "-h", "10.0.0.1; reboot"])
def test_a_peer_that_is_no_address(peer: str) -> None:
    with pytest.raises(OptionError, match="must be an IP address"):
        tcp_settings(peer=peer)
