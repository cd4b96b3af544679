"""What a supervisor needs of whatever runs its workers."""

from __future__ import annotations

from typing import Protocol

from fluxshard.cloud.cluster.worker.messages import Answer, Request


class Worker(Protocol):
    """A server that takes streams, in a process of its own."""

    @property
    def name(self) -> str:
        """That no other worker of the pool has had."""
        ...

    async def ask(self, request: Request) -> Answer:
        """Gives an order, and waits for its answer, for ever if need be: a frozen worker gives none.

        Raises:
          TransportError: the worker has ended, and surely serves nothing any more.
        """
        ...

    async def kill(self) -> None:
        """Ends it at once, and waits until it has ended; does nothing where it has."""
        ...


class WorkerPool(Protocol):
    """Makes workers."""

    async def start(self) -> Worker:
        """A new worker; it may take long to answer its first order, because it compiles.

        Raises:
          FluxShardError: there is no room for it, or it cannot be started.
        """
        ...

    async def close(self) -> None:
        """Ends all workers that are left."""
        ...
