"""Workers on the nodes of a Ray cluster: an actor holds each worker's process; no frame passes through Ray.

Ray finds a node, starts the actor there and says when it is gone; the worker is the same process as without Ray, and
edges connect to it directly. An actor that dies takes its worker along, whose control socket closes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from fluxshard.cloud.cluster.pool.process_pool import WorkerProcess
from fluxshard.cloud.cluster.worker.messages import Answer, Request, decode, encode
from fluxshard.errors import MissingExtraError, TransportError

_PLACE_S = 60.0  # within which Ray has to find a node for an actor
_KILL_S = 2.0
_OBJECT_STORE_BYTES = 150_000_000  # nothing is kept there, and Ray would take 30% of the memory


class WorkerHost:
    """An actor's code: one worker's process, on the actor's node."""

    def __init__(self) -> None:
        self._worker: WorkerProcess | None = None

    async def node(self) -> str:
        """Ray's name of the node."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    async def start(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        """Starts the worker, with this node's interpreter."""
        self._worker = WorkerProcess(name, [sys.executable, *command[1:]], {**environment, **os.environ})

    async def ask(self, line: bytes) -> bytes | None:
        """Passes an order on; None where the worker's process has ended."""
        assert self._worker is not None
        number, request = decode(line)
        try:
            return encode(number, await self._worker.ask(request))
        except TransportError:
            return None

    async def kill(self) -> None:
        """Ends the process."""
        if self._worker is not None:
            await self._worker.kill()


class RayWorker:
    """See `Worker`.

    Args:
      name: of the worker.
      actor: a handle of a `WorkerHost`.
      lease_s: after which a worker that cannot be reached serves nothing.
    """

    def __init__(self, name: str, actor: Any, lease_s: float) -> None:
        self._name, self._actor, self._lease_s = name, actor, lease_s
        self._is_killed = False

    @property
    def name(self) -> str:
        """See `Worker.name`."""
        return self._name

    async def ask(self, request: Request) -> Answer:
        """See `Worker.ask`."""
        import ray

        try:
            line = await self._actor.ask.remote(encode(0, request))
        except ray.exceptions.RayError:
            # the actor's node may only be cut off, with a worker that holds its lease
            await asyncio.sleep(self._lease_s)
            line = None
        if line is None:
            raise TransportError(f"worker {self._name} has ended")
        answer: Answer = decode(line)[1]
        return answer

    async def kill(self) -> None:
        """See `Worker.kill`; an actor that does not answer is ended by Ray."""
        import ray

        if self._is_killed:
            return
        self._is_killed = True
        with suppress(ray.exceptions.RayError, TimeoutError):
            await _within(self._actor.kill.remote(), _KILL_S)
        with suppress(ray.exceptions.RayError):
            await asyncio.to_thread(ray.kill, self._actor)


class RayPool:
    """See `WorkerPool`. Connects when it is made, or starts a Ray cluster of this machine alone.

    Usage statistics are off. A cluster that is started here listens on loopback, and takes calls with a token only.

    Args:
      command: of a worker, from its name and its node's address; gets the number of its control socket appended.
      address: of a Ray cluster, or "auto"; None starts one.
      gpus: that Ray reserves for each worker.
      lease_s: after which a worker that cannot be reached serves nothing.
      environment: that workers get where their node's says nothing else.
      tell: whether what workers print is printed here.

    Raises:
      MissingExtraError: Ray is not installed.
      TransportError: the cluster cannot be reached.
    """

    def __init__(
        self,
        command: Callable[[str, str], Sequence[str]],
        *,
        address: str | None = None,
        gpus: float = 0.0,
        lease_s: float,
        environment: dict[str, str] | None = None,
        tell: bool = True,
    ) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        if address is None:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # how Ray is told to use loopback
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MissingExtraError("ray is not installed; run: pip install 'fluxshard[cluster]'") from error
        self._command, self._gpus, self._lease_s = command, gpus, lease_s
        self._environment = dict(environment or {})
        self._workers: list[RayWorker] = []
        self._count = 0
        local: dict[str, Any] = {
            "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES,
        }  # fmt: skip
        options = local if address is None else {"address": address}
        try:
            ray.init(logging_level="error", log_to_driver=tell, **options)
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            where = "a Ray cluster cannot be started" if address is None else f"Ray at {address!r} cannot be reached"
            raise TransportError(f"{where}: {str(error).splitlines()[0][:200] if str(error) else error!r}") from error

    async def start(self) -> RayWorker:
        """See `WorkerPool.start`."""
        import ray

        self._count += 1
        name = f"w{self._count}"
        host = ray.remote(WorkerHost).options(
            num_cpus=0, num_gpus=self._gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        worker = RayWorker(name, actor := host.remote(), self._lease_s)
        self._workers.append(worker)
        try:
            node = await _address(await _within(actor.node.remote(), _PLACE_S))
            await _within(actor.start.remote(name, list(self._command(name, node)), self._environment), _PLACE_S)
        except (TimeoutError, ray.exceptions.RayError) as error:
            await worker.kill()
            why = "no node has room for it" if isinstance(error, TimeoutError) else type(error).__name__
            raise TransportError(f"Ray has not started worker {name}: {why}") from error
        return worker

    async def close(self) -> None:
        """See `WorkerPool.close`; a Ray cluster that was started here ends, too."""
        import ray

        await asyncio.gather(*(worker.kill() for worker in self._workers))
        await asyncio.to_thread(ray.shutdown)


async def _address(node: str) -> str:
    """A node's address, as other nodes reach it: what Ray was told, not what this machine would guess."""
    import ray

    nodes = await _within(asyncio.to_thread(ray.nodes), _PLACE_S)
    found = [str(one["NodeManagerAddress"]) for one in nodes if one["NodeID"] == node]
    if not found:
        raise TransportError(f"Ray does not know its node {node}")
    return found[0]


async def _within(call: Awaitable[Any], seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        return await call
