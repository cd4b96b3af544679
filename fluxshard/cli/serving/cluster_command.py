"""`fluxshard serve --workers`: the front, and the workers behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from fluxshard.cli.serving.cluster_flags import check_cluster, worker_address, worker_command, worker_host
from fluxshard.cli.serving.request import ServeRequest
from fluxshard.cli.serving.stop_signals import StopSignals
from fluxshard.cloud.cluster.front import Front
from fluxshard.cloud.cluster.options import ClusterOptions
from fluxshard.cloud.cluster.placement.placements import Placements
from fluxshard.cloud.cluster.pool.process_pool import ProcessPool
from fluxshard.cloud.cluster.pool.protocol import WorkerPool
from fluxshard.cloud.cluster.supervisor import Supervisor
from fluxshard.cloud.monitoring.event_log import EventLog
from fluxshard.cloud.monitoring.observers import Observers
from fluxshard.cloud.monitoring.prometheus import PrometheusObserver
from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_server import GrpcServer
from fluxshard.cloud.security.access import split_address
from fluxshard.files import write_whole


async def serve_cluster(request: ServeRequest, access: ServerAccess, figures: PrometheusObserver, log: EventLog) -> int:
    """Serves until a signal asks for the end.

    Returns:
      the exit status: 0, or 130 where it was interrupted before it served.

    Raises:
      FluxShardError: what keeps it from starting.
    """
    scale, observer = check_cluster(request), Observers(figures, log)
    options = ClusterOptions(scale=scale, drain_s=request.drain_s)
    placements = Placements(max_per_identity=request.max_streams_per_client)
    supervisor = Supervisor(open_pool(request, options), placements, options, observer=observer)
    front = Front(
        supervisor, request.limits(), open_s=options.open_s, server_name=request.worker_name or "", observer=observer
    )
    server = GrpcServer(front, access, observer=observer, models=[request.model.stem])
    try:
        with StopSignals(lambda: _remove(request.ready_file)) as signals:
            if not await _started(supervisor, signals.asked):
                print("fluxshard: interrupted before any stream was taken", file=sys.stderr)
                return 128 + signal.SIGINT
            address = await server.start(request.listen)
            print(
                f"fluxshard: {len(supervisor.workers)} workers serve {request.model.stem} behind {address} "
                f"({access.words})",
                flush=True,
            )
            log.event("ready", model=request.model.stem, workers=len(supervisor.workers), address=address)
            if request.ready_file is not None:
                write_whole(request.ready_file, f"{address}\n".encode())
            await signals.asked.wait()
            _remove(request.ready_file)
            log.event("draining", streams=len(placements), deadline_s=request.drain_s)
            await server.drain(request.drain_s)
    finally:
        await supervisor.close()
        await server.close()
    log.event("stopped", cut_streams=len(placements))
    return 0


async def _started(supervisor: Supervisor, asked: asyncio.Event) -> bool:
    """Starts the workers; False where a signal came before they were there."""
    starting, signalled = asyncio.ensure_future(supervisor.start()), asyncio.ensure_future(asked.wait())
    await asyncio.wait((starting, signalled), return_when=asyncio.FIRST_COMPLETED)
    is_started = starting.done()
    for task in (starting, signalled):
        task.cancel()
    found, _ = await asyncio.gather(starting, signalled, return_exceptions=True)
    if is_started and isinstance(found, BaseException):
        raise found
    return is_started


def open_pool(request: ServeRequest, options: ClusterOptions) -> WorkerPool:
    """What runs the workers.

    Args:
      request: as given.
      options: of the cluster; the cores of this machine are shared among its workers.

    Raises:
      MissingExtraError, TransportError: as `RayPool`.
    """
    listen = worker_address(split_address(request.listen)[0])
    if request.cluster == "ray":
        from fluxshard.cloud.cluster.pool.ray_pool import RayPool

        def on_node(name: str, node: str) -> list[str]:
            if request.ray_address is None:  # this machine alone
                return worker_command(request, name, listen, worker_host(request))
            return worker_command(request, name, worker_address(node), request.worker_host)

        return RayPool(
            on_node,
            address=request.ray_address,
            gpus=request.worker_gpus,
            lease_s=options.lease_s,
            environment={} if request.ray_address else _threads(options),
            tell=request.log_file is None,
        )
    return ProcessPool(
        lambda name: worker_command(request, name, listen, worker_host(request)), {**_threads(options), **os.environ}
    )


def _threads(options: ClusterOptions) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // options.scale.least))}


def _remove(path: Path | None) -> None:
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
