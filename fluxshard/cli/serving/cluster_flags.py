"""The flags of `fluxshard serve` about several workers, and the command line of one of them."""

from __future__ import annotations

import ipaddress
import re
import sys
from pathlib import Path

from fluxshard.cli.serving.request import ServeRequest
from fluxshard.cloud.cluster.placement.scaling import ScaleOptions
from fluxshard.cloud.security.access import split_address
from fluxshard.errors import OptionError

MOST_WORKERS = 1000
_WORKERS = re.compile(r"(?P<least>[0-9]{1,4})(:(?P<most>[0-9]{1,4}))?")
_CODE = "from fluxshard.cli import main; main()"


def is_cluster(request: ServeRequest) -> bool:
    """Whether workers were asked for."""
    return request.workers is not None or request.cluster is not None


def check_cluster(request: ServeRequest) -> ScaleOptions:
    """How many workers there are.

    Raises:
      OptionError: flags that do not go together, or a value that is not allowed.
    """
    if not is_cluster(request):
        for flag in ("worker_host", "worker_name", "ray_address"):
            if getattr(request, flag) is not None and request.worker is None:
                raise OptionError(f"--{flag.replace('_', '-')} is for several servers: give --workers, too")
    if request.cluster != "ray":
        for flag, given in (("--ray-address", request.ray_address is not None), ("--worker-gpus", request.worker_gpus)):
            if given:
                raise OptionError(f"{flag} is for workers of Ray: give --cluster ray, too")
    return _scale("1" if request.workers is None else request.workers)


def worker_host(request: ServeRequest) -> str:
    """Where edges reach workers of this machine.

    Raises:
      OptionError: nobody has said so, and it cannot be told.
    """
    if request.worker_host is not None:
        split_address(f"{_bracketed(request.worker_host)}:0")
        return request.worker_host
    host, _ = split_address(request.listen)
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    if everywhere:
        raise OptionError(
            f"--worker-host is missing: edges cannot reach workers at {host}; give the name or the address of this "
            "machine that edges use"
        )
    return host


def worker_address(host: str, port: int | str = 0) -> str:
    """HOST:PORT of a worker."""
    return f"{_bracketed(host)}:{port}"


def worker_command(request: ServeRequest, name: str, listen: str, host: str | None) -> list[str]:
    """The command line of a worker; the number of its control socket has to be appended.

    Args:
      request: of the whole.
      name: of the worker.
      listen: HOST:PORT that it listens on.
      host: that edges reach it at; None for that of `listen`.
    """
    flags: list[tuple[str, object]] = [
        ("--model", request.model.resolve()), ("--listen", listen), ("--worker-host", host), ("--task", request.task),
        *(("--size", size) for size in request.sizes), *(("--picture", size) for size in request.pictures),
        ("--tls-cert", _path(request.tls_cert)), ("--tls-key", _path(request.tls_key)),
        ("--client-ca", _path(request.client_ca)), ("--token-secret", _path(request.token_secret)),
        ("--max-streams", request.max_streams), ("--cache-gb", request.cache_gb), ("--park", request.park_s),
        ("--lease", request.lease_s), ("--drain", request.drain_s), ("--device", request.device),
        ("--dtype", request.dtype), ("--backend", request.backend),
        *(("--latency-profile", _path(path)) for path in request.latency_profiles),
        ("--log-file", _path(request.log_file)), ("--log-format", request.log_format), ("--worker", name),
    ]  # fmt: skip
    given = [text for flag, value in flags if value is not None for text in (flag, str(value))]
    insecure = ["--insecure"] if request.insecure else []
    return [sys.executable, "-c", _CODE, "serve", *given, *insecure, "--control-fd"]


def _path(path: Path | None) -> Path | None:
    return None if path is None else path.resolve()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _scale(text: str) -> ScaleOptions:
    found = _WORKERS.fullmatch(text)
    least = 0 if found is None else int(found["least"])
    most = least if found is None or found["most"] is None else int(found["most"])
    if not 1 <= least <= most <= MOST_WORKERS:
        raise OptionError(
            f"--workers (={text!r}) must be a number from 1 to {MOST_WORKERS}, or two of them as LEAST:MOST"
        )
    return ScaleOptions(least=least, most=most)
