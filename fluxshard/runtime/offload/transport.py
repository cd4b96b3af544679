"""The seam between an edge and the network: one stream of messages, both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class Transport(Protocol):
    """Carries messages between an edge and a server, in order and without loss, or not at all."""

    def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Opens a stream.

        Args:
          up: messages to the server. The next one is asked for when the one before has been handed to the network, so
            that a slow link holds back who makes them.

        Yields:
          messages from the server. Closing the iterator ends the stream.

        Raises:
          TransportError: the server cannot be reached, or the link was lost.
          RefusedError: the server does not take the stream.
        """
        ...
