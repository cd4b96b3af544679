"""Where Prometheus reads the figures: a port of its own, without TLS."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, start_http_server

from fluxshard.cloud.security.access import split_address
from fluxshard.errors import TransportError


class ScrapeServer:
    """Serves /metrics in a thread, until it is closed; a context manager.

    Args:
      registry: with the figures.
      address: HOST:PORT to listen on; port 0 takes one that is free.

    Attributes:
      address: that it listens on.

    Raises:
      OptionError: no address.
      TransportError: the port cannot be taken.
    """

    def __init__(self, registry: CollectorRegistry, address: str) -> None:
        host, port = split_address(address)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise TransportError(f"cannot listen on {address} for metrics: {error.strerror or error}") from error
        bound = self._server.server_port
        self.address = f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
