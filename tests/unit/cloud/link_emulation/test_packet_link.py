"""What only packets can show, and what is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxshard.cloud.link_emulation.namespaces import missing_for_namespaces
from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.cloud.link_emulation.packet_link import PacketLink
from fluxshard.errors import StateError, TransportError
from tests.unit.cloud.link_emulation.peers import answering, seconds, start_edge

MISSING = missing_for_namespaces()
pytestmark = [
    pytest.mark.requires_compiler,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]
_FLOOD = """
import socket, sys
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[2])):
    end.sendto(bytes(1000), (sys.argv[1], 9))
"""


def flood(link: PacketLink, count: int) -> None:
    command = link.edge_command([sys.executable, "-c", _FLOOD, link.listen_host, str(count)])
    subprocess.run(command, check=True, timeout=30)
    time.sleep(0.3)


def namespaces() -> set[str]:
    return {path.name for path in Path("/run/netns").glob("fluxshard-*")}


def test_a_full_queue_drops() -> None:
    link = PacketLink(LinkOptions(up_mbps=(8.0,), queue_bytes=20_000, delay_up_ms=0, delay_down_ms=0))
    with link:
        flood(link, 200)
    stats = link.stats()
    assert stats.dropped > 0 and stats.lost == 0
    assert stats.dropped + stats.up_packets <= 200
    assert stats.up_packets >= 19  # what the queue holds


def test_losses_are_the_same_for_the_same_seed() -> None:
    lost = []
    for seed in (3, 3, 4):
        link = PacketLink(LinkOptions(up_mbps=(1000.0,), queue_bytes=10**6, loss=0.25, seed=seed))
        with link:
            flood(link, 400)
        lost.append(link.stats().lost)
        assert link.stats().dropped == 0
    assert 60 <= lost[0] <= 140 and lost[0] == lost[1] != lost[2]


def test_tcp_gets_through_losses() -> None:
    link = PacketLink(LinkOptions(up_mbps=(50.0,), delay_up_ms=2, delay_down_ms=2, loss=0.02))
    with link, answering(link) as port:
        seconds(start_edge(link, port, [200_000] * 3))
    assert link.stats().lost > 0


def test_settings_of_the_kernel_are_those_of_the_link() -> None:
    link = PacketLink(LinkOptions(congestion_control="cubic", initcwnd=32))
    with link:
        for command in (link.server_command, link.edge_command):
            route = subprocess.run(
                command(["ip", "route", "get", "10.201.0.9"]), capture_output=True, text=True, check=True
            ).stdout
            idle = subprocess.run(
                command(["cat", "/proc/sys/net/ipv4/tcp_slow_start_after_idle"]), capture_output=True, check=True
            ).stdout
            assert "initcwnd 32" in route and "congctl cubic" in route and "dev link0" in route
            assert idle == b"0\n"


def test_nothing_is_left_behind() -> None:
    before = namespaces()
    with PacketLink(LinkOptions(edges=2)) as link:
        assert len(namespaces() - before) >= 3
    with pytest.raises(StateError, match="not up"):
        link.edge_command(["true"])
    with pytest.raises(TransportError, match="failed"), PacketLink(LinkOptions(congestion_control="nosuch")):
        pass
    with pytest.raises(ZeroDivisionError), PacketLink(LinkOptions()):
        _ = 1 / 0
    assert not namespaces() - before


def test_a_killed_owner_takes_its_link_with_it() -> None:
    owner = """
import sys, time
from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.cloud.link_emulation.packet_link import PacketLink
with PacketLink(LinkOptions()) as link:
    print(*link.edge_command([])[3:], *link.server_command([])[3:], flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        names = set(process.stdout.readline().split())
        assert names <= namespaces() and len(names) == 2
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while names & namespaces() and time.monotonic() < until:
        time.sleep(0.05)
    assert not names & namespaces()
