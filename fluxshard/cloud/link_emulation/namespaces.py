"""Network namespaces of this machine, made and removed with the system's `ip`."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fluxshard.errors import TransportError

_TIMEOUT_S = 10.0
_TUN = Path("/dev/net/tun")


def missing_for_namespaces() -> str | None:
    """Why packets cannot be carried between namespaces here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "the command `ip` is missing (Debian: apt install iproute2)"
    if not _TUN.exists():
        return f"{_TUN} is missing (CONFIG_TUN)"
    try:
        name = _new_name()
        run_ip("netns", "add", name)
    except TransportError as error:
        return f"no network namespace can be made: {error}"
    remove_namespace(name)
    return None


def make_namespace() -> str:
    """Makes a namespace whose loopback is up; returns its name.

    Raises:
      TransportError: it cannot be made.
    """
    name = _new_name()
    run_ip("netns", "add", name)
    try:
        run_ip("-n", name, "link", "set", "lo", "up")
    except TransportError:
        remove_namespace(name)
        raise
    return name


def remove_namespace(name: str) -> None:
    """Removes a namespace; one that is gone already is no error."""
    with suppress(TransportError):
        run_ip("netns", "delete", name)


def within(name: str, command: Sequence[str]) -> list[str]:
    """A command that runs in a namespace."""
    return ["ip", "netns", "exec", name, *command]


def run_ip(*words: str) -> None:
    """Runs `ip`.

    Raises:
      TransportError: it failed, or took longer than ten seconds.
    """
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TransportError(f"`ip {' '.join(words)}` did not run: {error}") from error
    if done.returncode:
        raise TransportError(f"`ip {' '.join(words)}` failed: {done.stderr.strip()[:200]}")


def set_network_value(name: str, key: str, value: str) -> None:
    """Sets a value below /proc/sys/net in a namespace.

    Raises:
      TransportError: the kernel has no such value there, or refuses it.
    """
    command = within(name, ["sh", "-c", 'printf %s "$2" > "/proc/sys/net/$1"', "sh", key, value])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TransportError(f"net.{key.replace('/', '.')} cannot be set: {error}") from error
    if done.returncode:
        raise TransportError(f"net.{key.replace('/', '.')} cannot be set to {value}: {done.stderr.strip()[:200]}")


def _new_name() -> str:
    return f"fluxshard-{secrets.token_hex(4)}"
