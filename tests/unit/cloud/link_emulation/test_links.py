"""Both kinds of links, between real processes. Upper bounds are wide: other tests run beside these."""

from __future__ import annotations

import time

import pytest

from fluxshard.cloud.link_emulation.emulated_link import EmulatedLink
from fluxshard.cloud.link_emulation.namespaces import missing_for_namespaces
from fluxshard.cloud.link_emulation.open_link import open_link
from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.errors import StateError
from tests.unit.cloud.link_emulation.peers import answering, seconds, start_edge

MISSING = missing_for_namespaces()
PACKETS = pytest.param("packets", marks=pytest.mark.skipif(MISSING is not None, reason=str(MISSING)))
KINDS = pytest.mark.parametrize("kind", [PACKETS, "shaper"])
pytestmark = pytest.mark.requires_compiler


@KINDS
def test_a_message_takes_transmission_and_both_delays(kind: str) -> None:
    link: EmulatedLink = open_link(LinkOptions(up_mbps=(100.0,), delay_up_ms=30, delay_down_ms=10), kind)  # type: ignore[arg-type]
    with link, answering(link) as port:
        connecting, *took = seconds(start_edge(link, port, [26_000, 300_000, 300_000, 300_000]))
    assert connecting > (0.039 if kind == "packets" else 0)
    assert 0.042 <= min(took[0], 1) < 1
    assert 0.064 <= min(took[1:]) < 1  # 24 ms of transmission and 40 ms of delays
    stats = link.stats()
    assert stats.up_bytes >= 926_000 and stats.down_bytes >= 4 * 64 and not stats.lost


@KINDS
def test_edges_share_the_way_up(kind: str) -> None:
    options = LinkOptions(up_mbps=(40.0,), delay_up_ms=1, delay_down_ms=1, edges=3)
    link: EmulatedLink = open_link(options, kind)  # type: ignore[arg-type]
    with link, answering(link) as port:
        begun = time.monotonic()
        edges = [start_edge(link, port, [500_000] * 2, edge) for edge in range(3)]
        took = [seconds(edge) for edge in edges]
        assert time.monotonic() - begun >= 0.6  # 3 MB at 5 MB/s
    assert all(sum(one[1:]) >= 0.2 for one in took)
    assert link.stats().up_bytes >= 3_000_000


@KINDS
def test_the_rate_follows_its_trace(kind: str) -> None:
    link: EmulatedLink = open_link(LinkOptions(up_mbps=(0.8, 0.8, 800.0, 800.0), delay_up_ms=0, delay_down_ms=0), kind)  # type: ignore[arg-type]
    with link, answering(link) as port:
        begun = time.monotonic()
        took = sum(seconds(start_edge(link, port, [400_000])))
        ended = time.monotonic() - begun
    assert took >= 0.9 and ended >= 1.9  # at most 0.2 MB go through in the first two seconds


@KINDS
def test_a_link_is_entered_once(kind: str) -> None:
    link: EmulatedLink = open_link(LinkOptions(), kind)  # type: ignore[arg-type]
    with pytest.raises(StateError, match=r"once it is left"):
        link.stats()
    with link, pytest.raises(StateError, match="entered once"):
        link.__enter__()
    with pytest.raises(StateError, match="entered once"):
        link.__enter__()


def test_auto_carries_packets_where_it_can() -> None:
    assert open_link(LinkOptions()).kind == ("shaper" if MISSING else "packets")
