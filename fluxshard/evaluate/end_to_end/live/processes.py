"""Server and edge as processes at the two ends of an emulated link."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxshard.cloud.link_emulation.emulated_link import EmulatedLink
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.end_to_end.live.edge.spec import EdgeSpec

_READY_S = 600.0  # kernels may have to be compiled
_TAIL = 1500  # letters of a log in messages
_EDGE = "fluxshard.evaluate.end_to_end.live.edge.process"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """A server.

    Attributes:
      weights: of the network; a file of `save_model` starts fastest.
      task, size, backend: of the network; the size is (H, W).
      cpus: processors that it may use; as many threads compute.
      certificates: folder of the site's files.
      profiles: latency profiles of this machine.
      folder: for its log.
    """

    weights: Path
    task: str
    size: tuple[int, int]
    backend: str
    cpus: tuple[int, ...]
    certificates: Path
    profiles: Sequence[Path]
    folder: Path


@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """A server that runs.

    Attributes:
      port: that it listens on.
      pid: of its process.
    """

    port: int
    pid: int


def fluxshard_command(cpus: Sequence[int], *words: object) -> list[str]:
    """The command line of `fluxshard` with this interpreter, on some processors."""
    code = f"import os; os.sched_setaffinity(0, {set(cpus)!r}); from fluxshard.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, words)]


def environment(threads: int) -> Mapping[str, str]:
    """In which a process finds this package, and computes with so many threads."""
    return {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": str(threads),
    }  # fmt: skip


@contextmanager
def serving(link: EmulatedLink, spec: ServerSpec) -> Iterator[Server]:
    """`fluxshard serve` at the server's end of a link, until the context ends.

    Raises:
      EvaluationError: it does not start.
    """
    spec.folder.mkdir(parents=True, exist_ok=True)
    ready, log, certs = spec.folder / "ready", spec.folder / "serve.log", spec.certificates
    ready.unlink(missing_ok=True)
    words = [
        "serve", "--model", spec.weights, "--size", "x".join(map(str, spec.size)),
        "--backend", spec.backend, "--listen", f"{link.listen_host}:0", "--tls-cert", certs / "server.pem",
        "--tls-key", certs / "server.key", "--client-ca", certs / "ca.pem", "--ready-file", ready,
    ]  # fmt: skip
    for profile in spec.profiles:
        words += ["--latency-profile", profile]
    with log.open("wb") as out:
        process = subprocess.Popen(
            link.server_command(fluxshard_command(spec.cpus, *words)), stdout=out, stderr=out,
            env=environment(len(spec.cpus)),
        )  # fmt: skip
    try:
        until = time.monotonic() + _READY_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise EvaluationError(f"the server did not start: {_tail(log)}")
            time.sleep(0.05)
        port = int(ready.read_text(encoding="utf-8").strip().rpartition(":")[2])
        yield Server(port=port, pid=process.pid)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def run_edges(specs: Sequence[EdgeSpec], link: EmulatedLink | None, timeout_s: float) -> list[dict[str, Any]]:
    """Runs edges beside each other, all to their ends.

    Args:
      specs: what they do, in the order of the link's edges; their folders are made.
      link: at whose ends they run; None for edges alone.
      timeout_s: after which they are killed.

    Returns:
      what they say of themselves.

    Raises:
      EvaluationError: one of them failed; the others are killed.
    """
    running: list[tuple[EdgeSpec, subprocess.Popen[bytes]]] = []
    try:
        for edge, spec in enumerate(specs):
            running.append((spec, _start_edge(spec, link, edge)))
        until = time.monotonic() + timeout_s
        while going := [spec for spec, process in running if _goes_on(spec, process)]:
            if time.monotonic() > until:
                late = going[0]
                raise EvaluationError(f"{late.method!r} took longer than {timeout_s:.0f} s: {_tail(_log(late))}")
            time.sleep(0.05)
    finally:
        for _, process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    return [json.loads((Path(spec.out) / "edge.json").read_text(encoding="utf-8")) for spec in specs]


def _start_edge(spec: EdgeSpec, link: EmulatedLink | None, edge: int) -> subprocess.Popen[bytes]:
    folder = Path(spec.out)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "spec.json"
    spec.save(path)
    command = [sys.executable, "-m", _EDGE, str(path)]
    with _log(spec).open("wb") as out:
        return subprocess.Popen(
            command if link is None else link.edge_command(command, edge), stdout=out, stderr=out,
            env=environment(spec.threads),
        )  # fmt: skip


def _goes_on(spec: EdgeSpec, process: subprocess.Popen[bytes]) -> bool:
    """Whether a process still runs; raises EvaluationError where it has failed."""
    status = process.poll()
    if status:
        raise EvaluationError(f"{spec.method!r} failed with status {status}: {_tail(_log(spec))}")
    return status is None


def _log(spec: EdgeSpec) -> Path:
    return Path(spec.out) / "edge.log"


def save_model(spec: ServerSpec, cpus: Sequence[int], out: Path) -> None:
    """`fluxshard export`, so that processes start without capturing; does nothing where the file is there.

    Raises:
      EvaluationError: it failed.
    """
    words = [
        "export", spec.weights, "--task", spec.task, "--size", "x".join(map(str, spec.size)),
        "--backend", spec.backend, "--out", out,
    ]  # fmt: skip
    _once(cpus, words, out, "the model was not saved")


def profile_latency(spec: ServerSpec, policy: str, cpus: Sequence[int], out: Path, frames: int) -> None:
    """`fluxshard profile` on some processors; does nothing where the file is there.

    Raises:
      EvaluationError: it failed.
    """
    words = [
        "profile", "--model", spec.weights, "--size", "x".join(map(str, spec.size)), "--backend", spec.backend,
        "--policy", policy, "--frames", frames, "--out", out,
    ]  # fmt: skip
    _once(cpus, words, out, "the latency of this machine was not measured")


def _once(cpus: Sequence[int], words: Sequence[object], out: Path, failed: str) -> None:
    """Runs a command that writes a file, unless it is there."""
    if out.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        fluxshard_command(cpus, *words), capture_output=True, text=True, env=environment(len(cpus)), check=False
    )
    if done.returncode:
        raise EvaluationError(f"{failed}: {(done.stdout + done.stderr)[-_TAIL:]}")


def _tail(log: Path) -> str:
    return " ".join(log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].split()) or "it has said nothing"
