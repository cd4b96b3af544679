"""What the kernel's TCP settings mean for offloading. Where the figures come from: `cloud/tcp_settings.py`."""

from __future__ import annotations

from collections.abc import Iterator

from fluxshard.cloud.tcp_settings import TcpSettings
from fluxshard.diagnostics.check import Check, Status

_RAW_BYTES = 640 * 640 * 3  # a payload of raw pixels, which one window should hold


def check_tcp(settings: TcpSettings) -> Iterator[Check]:
    """One finding for each setting."""
    yield _slow_start(settings)
    yield _congestion(settings)
    yield Check(name="tcp default qdisc", status="ok", seen=settings.default_qdisc or "not told")
    yield _buffer("tcp receive buffer", "tcp_rmem", settings.receive_bytes)
    yield _buffer("tcp send buffer", "tcp_wmem", settings.send_bytes)
    yield _initial_window(settings)


def _slow_start(settings: TcpSettings) -> Check:
    name = "tcp slow start"
    if settings.slow_start_after_idle is None:
        return Check(name=name, status="warn", seen="net.ipv4.tcp_slow_start_after_idle is not told")
    if not settings.slow_start_after_idle:
        return Check(name=name, status="ok", seen="net.ipv4.tcp_slow_start_after_idle=0")
    return Check(
        name=name,
        status="warn",
        seen="net.ipv4.tcp_slow_start_after_idle=1, so 300 kB after a pause take 220 ms instead of 66 "
        "(100 Mbps, 40 ms round trip)",
        advice="sysctl -w net.ipv4.tcp_slow_start_after_idle=0, on the sender",
    )


def _congestion(settings: TcpSettings) -> Check:
    name = "tcp congestion"
    on_route = settings.route_congestion_control
    control = on_route or settings.congestion_control
    if control is None:
        return Check(name=name, status="warn", seen="net.ipv4.tcp_congestion_control is not told")
    seen = f"{control}{f' on the route ({settings.route})' if on_route else ''}"
    if control.startswith("bbr"):
        return Check(
            name=name,
            status="warn",
            seen=f"{seen} paces small frames: 26 kB take 58 ms instead of 45 (100 Mbps, 40 ms round trip)",
            advice="for bitstream payloads take cubic (ip route change ... congctl cubic); keep bbr for large payloads "
            "on links that lose packets",
        )
    return Check(name=name, status="ok", seen=f"{seen}; on links that lose packets, bbr is better for large payloads")


def _buffer(name: str, sysctl: str, sizes: tuple[int, int, int] | None) -> Check:
    if sizes is None:
        return Check(name=name, status="warn", seen=f"net.ipv4.{sysctl} is not told")
    seen = f"{' '.join(map(str, sizes))} bytes"
    status: Status = "ok"
    advice = ""
    if sizes[2] < _RAW_BYTES:
        status, advice = "warn", (
            f"raw pixels of 640x640 ({_RAW_BYTES} bytes) do not fit one window; raise the last number of "
            f"net.ipv4.{sysctl}"
        )  # fmt: skip
    return Check(name=name, status=status, seen=seen, advice=advice)


def _initial_window(settings: TcpSettings) -> Check:
    name = "tcp initial window"
    if settings.route is None:
        return Check(name=name, status="ok", seen="not told: there is no default route, or no ip command")
    if settings.route_initcwnd is None:
        seen = "10 segments, the kernel's own; ip route change ... initcwnd 64 speeds up the first keyframe"
    else:
        seen = f"{settings.route_initcwnd} segments on the route ({settings.route})"
    return Check(name=name, status="ok", seen=seen)
