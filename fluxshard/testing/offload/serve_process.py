"""`fluxshard serve` as a process of its own, which tests may kill. Needs `cloud`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fluxshard.testing.networks import TwoStrides

READY_S = 90.0
_CODE = "from fluxshard.cli import main; main()"


def write_small_model(path: Path) -> Path:
    """The network of `small_model`, as a file that `fluxshard serve` takes."""
    torch.manual_seed(0)
    torch.save(TwoStrides().eval(), path)
    return path


@dataclass(frozen=True, slots=True, eq=False)
class ServeProcess:
    """A server that runs.

    Attributes:
      address: HOST:PORT.
      process: of the server; standard output and error are files of `directory`.
      directory: that the process writes to.
    """

    address: str
    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def stdout(self) -> str:
        """What the server has printed."""
        return (self.directory / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """The server's notes, errors and log."""
        return (self.directory / "stderr").read_text(encoding="utf-8")

    def kill(self) -> None:
        """Ends the process without a chance to say anything."""
        self.process.kill()
        self.process.wait(READY_S)

    def stop(self, seconds: float = READY_S) -> int:
        """Asks the process to end; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def command(*arguments: object) -> list[str]:
    """The command line of `fluxshard` with this interpreter."""
    return [sys.executable, "-c", _CODE, *map(str, arguments)]


def environment() -> Mapping[str, str]:
    """In which the command finds the package that is tested."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def serve_process(directory: Path, *arguments: object) -> Iterator[ServeProcess]:
    """Runs `fluxshard serve` until the context ends, and waits until it takes streams.

    Args:
      directory: for its files; exists.
      *arguments: of the command.

    Raises:
      AssertionError: it ended, or was not ready in time.
    """
    ready = directory / "ready"
    ready.unlink(missing_ok=True)
    with open(directory / "stdout", "wb") as out, open(directory / "stderr", "wb") as errors:
        process = subprocess.Popen(
            command("serve", *arguments, "--ready-file", ready), stdout=out, stderr=errors, env=environment()
        )
    try:
        until = time.monotonic() + READY_S
        while not ready.exists():
            assert process.poll() is None, (directory / "stderr").read_text(encoding="utf-8")
            assert time.monotonic() < until, "the server was not ready in time"
            time.sleep(0.02)
        yield ServeProcess(ready.read_text(encoding="utf-8").strip(), process, directory)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
