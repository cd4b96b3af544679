"""The kernel's TCP settings, which decide how long a payload takes and which gRPC hides.

Measured on a link of 100 Mbps with 20 ms each way: 300 kB after a pause of 2 s take 220 ms with slow start after idle
and 68 ms without; 26 kB take 58 ms with bbr and 45 ms with cubic. With 1 % loss at 30 Mbps, 300 kB take 793 ms with
cubic and 148 ms with bbr.
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxshard.errors import OptionError

_IP_COMMANDS = ("sbin/ip", "usr/sbin/ip", "bin/ip", "usr/bin/ip")
_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSettings:
    """What is in force; None where the system does not tell.

    Attributes:
      slow_start_after_idle: the congestion window shrinks while a connection pauses.
      congestion_control: of connections whose route names none.
      available: algorithms that are loaded.
      default_qdisc: of new network interfaces; a network namespace of its own does not tell.
      receive_bytes, send_bytes: least, first and largest buffer of a connection.
      route: where the following two hold: "default", or the address that was asked for; None where `ip` does not tell.
      route_initcwnd: segments that a connection on the route begins with; None for the kernel's own, 10.
      route_congestion_control: what the route names instead of `congestion_control`; None for nothing.
    """

    slow_start_after_idle: bool | None
    congestion_control: str | None
    available: tuple[str, ...]
    default_qdisc: str | None
    receive_bytes: tuple[int, int, int] | None
    send_bytes: tuple[int, int, int] | None
    route: str | None
    route_initcwnd: int | None
    route_congestion_control: str | None


def tcp_settings(root: Path = Path("/"), peer: str | None = None) -> TcpSettings:
    """Reads the settings of this machine, in the network namespace of this process.

    Args:
      root: where proc/ and sbin/ are; another for tests.
      peer: IP address whose route is asked for; the default route unless given.

    Raises:
      OptionError: the peer is not an IP address.
    """
    if peer is not None:
        try:
            ipaddress.ip_address(peer)
        except ValueError as error:
            raise OptionError(f"peer (={peer!r}) must be an IP address") from error
    idle = _word(root, "ipv4/tcp_slow_start_after_idle")
    words = _route(root, peer)
    initcwnd = _after(words, "initcwnd")
    return TcpSettings(
        slow_start_after_idle=None if idle is None else idle != "0",
        congestion_control=_word(root, "ipv4/tcp_congestion_control"),
        available=tuple((_text(root, "ipv4/tcp_available_congestion_control") or "").split()),
        default_qdisc=_word(root, "core/default_qdisc"),
        receive_bytes=_three(root, "ipv4/tcp_rmem"),
        send_bytes=_three(root, "ipv4/tcp_wmem"),
        route=(peer or "default") if words else None,
        route_initcwnd=int(initcwnd) if initcwnd is not None and initcwnd.isdecimal() else None,
        route_congestion_control=_after(words, "congctl"),
    )


def _text(root: Path, name: str) -> str | None:
    try:
        return (root / "proc/sys/net" / name).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _word(root: Path, name: str) -> str | None:
    return _text(root, name) or None


def _three(root: Path, name: str) -> tuple[int, int, int] | None:
    words = (_text(root, name) or "").split()
    if len(words) != 3 or not all(word.isdecimal() for word in words):
        return None
    least, first, largest = map(int, words)
    return least, first, largest


def _route(root: Path, peer: str | None) -> Sequence[str]:
    """Words of the first route that `ip` prints; none where there is no route or no `ip`."""
    command = next((root / name for name in _IP_COMMANDS if os.access(root / name, os.X_OK)), None)
    if command is None:
        return ()
    question = ["route", "show", "default"] if peer is None else ["route", "get", peer]
    try:
        done = subprocess.run(
            [str(command), "-o", *question], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ()
    lines = done.stdout.splitlines()
    # of a question for one address, all lines are about it; of the default routes, the first is preferred
    return " ".join(lines if peer is not None else lines[:1]).replace("\\", " ").split()


def _after(words: Sequence[str], name: str) -> str | None:
    """The word that follows a name; "lock" between them only says that the kernel must not change the value."""
    rest = [word for word in words[words.index(name) + 1 :] if word != "lock"] if name in words else []
    return rest[0] if rest else None
