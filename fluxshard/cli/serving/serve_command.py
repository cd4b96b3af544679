"""`fluxshard serve`: checks, compiles, listens, and drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from fluxshard.cli.serving.cluster_command import serve_cluster
from fluxshard.cli.serving.cluster_flags import check_cluster, is_cluster, worker_host
from fluxshard.cli.serving.request import ServeRequest
from fluxshard.cli.serving.served_models import served_models
from fluxshard.cli.serving.stop_signals import StopSignals
from fluxshard.cli.serving.worker_orders import Control
from fluxshard.cli.support.apart import check_apart
from fluxshard.cli.support.messages import device_errors, warnings_as_notes
from fluxshard.cloud.decoding.fingerprint import decoder_fingerprint
from fluxshard.cloud.monitoring.event_log import EventLog
from fluxshard.cloud.monitoring.observers import Observers
from fluxshard.cloud.monitoring.prometheus import PrometheusObserver
from fluxshard.cloud.monitoring.scrape_server import ScrapeServer
from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.network.grpc_server import GrpcServer
from fluxshard.cloud.network.ports import check_free
from fluxshard.cloud.security.access import checked_address
from fluxshard.cloud.security.tls import server_credentials
from fluxshard.cloud.server.served_model import Catalogue, ServedModel
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.errors import OptionError, VideoError, warn
from fluxshard.files import write_whole


def serve_command(request: ServeRequest) -> int:
    """Serves until a signal asks for the end; nothing is compiled before all that can be checked is right.

    Returns:
      the exit status: 0, or 130 where it was interrupted before it served.

    Raises:
      FluxShardError, OSError: what keeps the server from starting.
    """
    screen = Console(stderr=True, highlight=False)
    with contextlib.ExitStack() as open_things:
        open_things.enter_context(warnings_as_notes(screen))
        open_things.enter_context(device_errors())
        access = _checked(request)
        figures = PrometheusObserver()
        if request.metrics is not None:
            open_things.enter_context(ScrapeServer(figures.registry, request.metrics))
        log = open_things.enter_context(_log(request))
        if request.ready_file is not None:
            _remove(request.ready_file)  # of a server that was killed
        if is_cluster(request):
            return asyncio.run(serve_cluster(request, access, figures, log))
        try:
            with screen.status("") as status:
                models = served_models(request, status.update)
        except KeyboardInterrupt:
            screen.print("fluxshard: interrupted before any stream was taken", soft_wrap=True)
            return 128 + signal.SIGINT
        return asyncio.run(_serve(request, access, models, figures, log))


def _checked(request: ServeRequest) -> ServerAccess:
    """Checks all that is quick: flags, certificates, and whether the port can be taken."""
    request.limits()
    check_cluster(request)
    if is_cluster(request) and request.ray_address is None:  # nodes of Ray have addresses of their own
        worker_host(request)
    request.picture_sizes()
    request.network.check()
    access = request.access()
    target = checked_address(request.listen, tls=access.tls is not None, insecure=access.insecure)
    if access.tls is not None:
        server_credentials(access.tls)
    check_free(target)
    read = (request.model, request.tls_cert, request.tls_key, request.client_ca, request.token_secret)
    for flag, path in (("--log-file", request.log_file), ("--ready-file", request.ready_file)):
        if path is not None:
            check_apart([path], (*read, *request.latency_profiles), flag)
    return access


async def _serve(
    request: ServeRequest,
    access: ServerAccess,
    models: list[ServedModel],
    figures: PrometheusObserver,
    log: EventLog,
) -> int:
    observer = Observers(figures, log)
    control = None if request.control_fd is None else Control()
    streams = StreamServer(
        Catalogue(models), request.limits(), observer=observer, decoder=_decoder(),
        claims=None if control is None else control.claims,
    )  # fmt: skip
    figures.watch(streams)
    sizes = ["x".join(map(str, model.plan.image_size)) for model in models]
    name = request.model.stem
    try:
        server = GrpcServer(streams, access, observer=observer, models=[f"{name}@{size}" for size in sizes])
        try:
            with StopSignals(lambda: _remove(request.ready_file)) as signals:
                address = await server.start(request.listen)
                compute = models[0].compute
                if control is None:
                    print(
                        f"fluxshard: serving {name} at {', '.join(sizes)} on {address} "
                        f"({access.words}, {compute.backend} {compute.isa} {compute.dtype})",
                        flush=True,
                    )
                log.event("ready", model=name, sizes=" ".join(sizes), address=address, access=access.words)
                if request.ready_file is not None:
                    write_whole(request.ready_file, f"{address}\n".encode())
                async with contextlib.AsyncExitStack() as following:
                    orders = None
                    if control is not None:
                        followed = control.followed(request, streams, address, signals.asked)
                        orders = await following.enter_async_context(followed)
                    await signals.asked.wait()
                    _remove(request.ready_file)
                    if orders is not None:
                        orders.worker.is_leaving = True
                    drain_s = 0.0 if orders is not None and orders.is_orphan else request.drain_s
                    log.event("draining", streams=streams.connected, deadline_s=drain_s)
                    await server.drain(drain_s)
                    left = streams.connected
                    if orders is not None:
                        await orders.told()
        finally:
            await server.close()
    finally:
        streams.close()
    log.event("stopped", cut_streams=left)
    return 0


def _decoder() -> str:
    try:
        return decoder_fingerprint()
    except VideoError as error:
        warn(f"{error}; edges cannot send their video's packets")
        return ""


@contextlib.contextmanager
def _log(request: ServeRequest) -> Iterator[EventLog]:
    """The log; what libraries warn of goes there, too, in one line each."""
    with contextlib.ExitStack() as files:
        file = sys.stderr
        if request.log_file is not None:
            try:
                file = files.enter_context(open(request.log_file, "a", encoding="utf-8"))
            except OSError as error:
                raise OptionError(
                    f"--log-file (={str(request.log_file)!r}) cannot be written: {error.strerror}"
                ) from error
        named = {} if request.worker is None else {"worker": request.worker}
        log = EventLog(file, request.log_format, **named)
        handler = _LibraryHandler(log)
        logging.getLogger().addHandler(handler)
        try:
            yield log
        finally:
            logging.getLogger().removeHandler(handler)


class _LibraryHandler(logging.Handler):
    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        facts = {} if error is None else {"error": type(error).__name__, "cause": str(error)}
        self._log.event("library", of=record.name, text=record.getMessage(), **facts)


def _remove(path: Path | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
