"""A link that carries packets between network namespaces: TCP sees its rate, delay, queue and loss.

Each end is a network namespace with a TUN interface; a program of ours moves packets between them. That needs root and
CONFIG_TUN, and no kernel module for queues. A proxy of connections would show the sender a round trip of 0, and hide
slow start, timeouts and full queues, which decide how long a payload takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from fluxshard.cloud.link_emulation.emulated_link import Kind, LinkStats
from fluxshard.cloud.link_emulation.forwarder import Forwarder
from fluxshard.cloud.link_emulation.namespaces import (
    make_namespace,
    missing_for_namespaces,
    remove_namespace,
    run_ip,
    set_network_value,
    within,
)
from fluxshard.cloud.link_emulation.options import MTU, LinkOptions
from fluxshard.errors import StateError, TransportError

_INTERFACE = "link0"
_NETWORK = "10.201.0"


class PacketLink:
    """See `EmulatedLink`; the server has address 10.201.0.1, edge k 10.201.0.(k + 2), in namespaces of their own.

    Args:
      options: of the link.

    Raises:
      TransportError: on entering, where namespaces cannot be made or an option is refused by the kernel.
    """

    kind: Kind = "packets"
    listen_host = f"{_NETWORK}.1"

    def __init__(self, options: LinkOptions) -> None:
        self.options = options
        self._names: list[str] = []
        self._stats: LinkStats | None = None
        self._stack = ExitStack()
        self._forwarder: Forwarder | None = None

    def __enter__(self) -> Self:
        if self._forwarder is not None or self._stats is not None:
            raise StateError("a link is entered once; make another one")
        missing = missing_for_namespaces()
        if missing is not None:
            raise TransportError(f"packets cannot be carried here: {missing}; a ShapedLink needs nothing of that")
        with ExitStack() as stack:
            for _ in range(1 + self.options.edges):
                name = make_namespace()
                stack.callback(remove_namespace, name)
                self._names.append(name)
            forwarder = Forwarder(self.options, self._names[0], self._names[1:])
            stack.callback(self._stop, forwarder)
            for index, name in enumerate(self._names):
                self._set_up(name, f"{_NETWORK}.{index + 1}")
            self._forwarder = forwarder
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def server_command(self, command: Sequence[str]) -> list[str]:
        """See `EmulatedLink`."""
        return within(self._name(0), command)

    def edge_command(self, command: Sequence[str], edge: int = 0) -> list[str]:
        """See `EmulatedLink`."""
        return within(self._name(1 + edge), command)

    def address(self, port: int, edge: int = 0) -> tuple[str, int]:
        """See `EmulatedLink`."""
        return self.listen_host, port

    def stats(self) -> LinkStats:
        """See `EmulatedLink`.

        Raises:
          StateError: the link is still up.
        """
        if self._stats is None:
            raise StateError("what a link has carried is known once it is left")
        return self._stats

    def _name(self, index: int) -> str:
        if self._forwarder is None or self._stats is not None:
            raise StateError("the link is not up: enter it first")
        return self._names[index]

    def _stop(self, forwarder: Forwarder) -> None:
        self._stats = forwarder.stop()

    def _set_up(self, name: str, address: str) -> None:
        options = self.options
        run_ip("-n", name, "address", "add", f"{address}/24", "dev", _INTERFACE)
        run_ip("-n", name, "link", "set", _INTERFACE, "up", "mtu", str(MTU), "txqueuelen", "10000")
        words = []
        if options.congestion_control is not None:
            words += ["congctl", options.congestion_control]
        if options.initcwnd is not None:
            words += ["initcwnd", str(options.initcwnd)]
        if words:
            run_ip("-n", name, "route", "replace", f"{_NETWORK}.0/24", "dev", _INTERFACE, "src", address, *words)
        idle = "1" if options.slow_start_after_idle else "0"
        set_network_value(name, "ipv4/tcp_slow_start_after_idle", idle)
