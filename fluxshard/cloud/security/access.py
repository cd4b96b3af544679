"""Where plaintext may go: nowhere, unless it is asked for and stays on this machine."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence

from fluxshard.errors import OptionError, SecurityError

_ADDRESS = re.compile(r"(?:\[(?P<literal>[0-9A-Za-z:.%_-]+)\]|(?P<host>[0-9A-Za-z._-]+)):(?P<port>[0-9]{1,5})")


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own, which no packet leaves. Host names are not resolved: False."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port", "1.2.3.4:port" or "[::1]:port".

    Raises:
      OptionError: anything else.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65535:
        raise OptionError(f"{address!r} is not an address: give HOST:PORT, or [IPV6]:PORT")
    return found["literal"] or found["host"], int(found["port"])


def resolve(host: str) -> Sequence[str]:
    """IP addresses of a host, as the system resolves it; an address is its own.

    Raises:
      SecurityError: the host is not known.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SecurityError(f"{host!r} cannot be resolved ({error}): give an IP address") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def checked_address(
    address: str, *, tls: bool, insecure: bool, resolver: Callable[[str], Sequence[str]] = resolve
) -> str:
    """The address to listen on or to connect to, if the rule allows it.

    With TLS that is the address itself. Plaintext needs `insecure`, and only goes to loopback. What comes back then
    holds the IP address that was checked: another look-up of the name could give another.

    Args:
      address: "host:port", of a server: where it listens; of an edge: where its server is.
      tls: the connection is encrypted.
      insecure: plaintext was asked for.
      resolver: from a host to IP addresses.

    Raises:
      OptionError: not an address, or both TLS and plaintext.
      SecurityError: plaintext that was not asked for, or that would leave this machine.
    """
    host, port = split_address(address)
    if tls and insecure:
        raise OptionError("TLS and --insecure were both asked for: leave one out")
    if tls:
        return address
    if not insecure:
        raise SecurityError(
            f"{address} without TLS: give certificates (`fluxshard certs` makes some), or --insecure on loopback"
        )
    found = resolver(host)
    outside = [ip for ip in found if not is_loopback(ip)]
    if outside or not found:
        raise SecurityError(
            f"--insecure is for loopback only, and {host} is {outside[0] if outside else 'no address'}: use 127.0.0.1, "
            "or TLS (`fluxshard certs` makes certificates)"
        )
    chosen = min(found, key=lambda ip: ":" in ip)  # both ends of "localhost" have to choose the same
    return f"[{chosen}]:{port}" if ":" in chosen else f"{chosen}:{port}"
