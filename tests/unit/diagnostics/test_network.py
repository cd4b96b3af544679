"""What is said of TCP settings."""

from __future__ import annotations

import dataclasses

import pytest

from fluxshard.cloud.tcp_settings import TcpSettings
from fluxshard.diagnostics.network import check_tcp

GOOD = TcpSettings(
    slow_start_after_idle=False,
    congestion_control="cubic",
    available=("reno", "cubic"),
    default_qdisc="fq_codel",
    receive_bytes=(4096, 131072, 33554432),
    send_bytes=(4096, 16384, 4194304),
    route="default",
    route_initcwnd=64,
    route_congestion_control=None,
)


def findings(**changed: object):
    return {check.name: check for check in check_tcp(dataclasses.replace(GOOD, **changed))}


def test_good_settings() -> None:
    found = findings()
    assert {check.status for check in found.values()} == {"ok"} and len(found) == 6
    assert found["tcp initial window"].seen == "64 segments on the route (default)"


def test_slow_start_after_idle_says_what_it_costs() -> None:
    line = findings(slow_start_after_idle=True)["tcp slow start"].line()
    assert line.startswith("warn") and "220 ms instead of 66" in line
    assert "sysctl -w net.ipv4.tcp_slow_start_after_idle=0" in line


def test_congestion_control() -> None:
    assert findings(congestion_control="bbr")["tcp congestion"].status == "warn"
    routed = findings(congestion_control="bbr", route="10.0.0.1", route_congestion_control="cubic")["tcp congestion"]
    assert routed.status == "ok" and routed.seen.startswith("cubic on the route (10.0.0.1)")
    assert findings(route_congestion_control="bbr")["tcp congestion"].status == "warn"


def test_small_buffers() -> None:
    found = findings(receive_bytes=(4096, 131072, 1_000_000))
    assert found["tcp receive buffer"].status == "warn" and "net.ipv4.tcp_rmem" in found["tcp receive buffer"].advice
    assert found["tcp send buffer"].status == "ok"


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TcpSettings)])
def test_what_the_system_does_not_tell(name: str) -> None:
    value = () if name == "available" else None
    assert len(findings(**{name: value})) == 6


def test_an_initial_window_of_the_kernel() -> None:
    assert findings(route_initcwnd=None)["tcp initial window"].seen.startswith("10 segments")
    assert "not told" in findings(route=None, route_initcwnd=None)["tcp initial window"].seen
