"""Workers as plain processes of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from fluxshard.cloud.cluster.pool.order_channel import OrderChannel
from fluxshard.cloud.cluster.worker.messages import Answer, Request
from fluxshard.errors import TransportError

_POLL_S = 0.01


class WorkerProcess:
    """See `Worker`; made in the event loop that asks it.

    Args:
      name: of the worker.
      command: that runs it; gets the number of its control socket appended.
      environment: that it runs in.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name = name
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=dict(environment),
                    start_new_session=True,  # Ctrl-C is the supervisor's, who ends its workers in order
                )
            except OSError as error:
                ours.close()
                raise TransportError(f"worker {name} cannot be started: {error.strerror}") from error
        self._channel = OrderChannel(ours, name)

    @property
    def name(self) -> str:
        """See `Worker.name`."""
        return self._name

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    async def ask(self, request: Request) -> Answer:
        """See `Worker.ask`."""
        try:
            return await self._channel.ask(request)
        except TransportError:
            await self.kill()  # it may have closed its socket only
            raise

    async def kill(self) -> None:
        """See `Worker.kill`."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its decoders, too
        while self._process.poll() is None:
            await asyncio.sleep(_POLL_S)
        await self._channel.close()


class ProcessPool:
    """See `WorkerPool`.

    Args:
      command: of a worker, from its name; gets the number of its control socket appended.
      environment: that workers run in.
    """

    def __init__(self, command: Callable[[str], Sequence[str]], environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._environment = dict(os.environ) if environment is None else dict(environment)
        self._workers: list[WorkerProcess] = []
        self._count = 0

    async def start(self) -> WorkerProcess:
        """See `WorkerPool.start`."""
        self._count += 1
        name = f"w{self._count}"
        worker = WorkerProcess(name, self._command(name), self._environment)
        self._workers = [*(one for one in self._workers if one._process.poll() is None), worker]
        return worker

    async def close(self) -> None:
        """See `WorkerPool.close`."""
        await asyncio.gather(*(worker.kill() for worker in self._workers))
