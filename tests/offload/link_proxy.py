"""A TCP proxy between an edge and a server, with the faults of a link: slow, silent, cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self


class LinkProxy:
    """Forwards connections from a port of its own, both ways, byte for byte.

    Args:
      target: port on 127.0.0.1 that is forwarded to; it may change.

    Attributes:
      up_bytes_per_s: rate from the edge to the server; 0 is without limit.
      silent: nothing is forwarded any more, either way, and nothing fails.
      bytes_up, bytes_down: forwarded so far.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.up_bytes_per_s = 0.0
        self.silent = False
        self.bytes_up = self.bytes_down = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closing = False

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Resets all connections."""
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                with contextlib.suppress(UnboundLocalError, OSError):
                    near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
            self._start(self._pump, near, far, True)
            self._start(self._pump, far, near, False)

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        try:
            while data := source.recv(16 << 10):
                while self.silent and not self._closing:
                    time.sleep(0.005)
                if up and self.up_bytes_per_s:
                    time.sleep(len(data) / self.up_bytes_per_s)
                target.sendall(data)
                if up:
                    self.bytes_up += len(data)
                else:
                    self.bytes_down += len(data)
        except OSError:
            pass
        finally:
            for one in (source, target):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._sockets -= {source}
            source.close()
