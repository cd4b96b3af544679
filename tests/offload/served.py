"""`fluxshard serve` as a process of its own, with certificates of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fluxshard.cloud.security.site import SiteFiles, make_site
from fluxshard.cloud.security.tls import ClientTls

STARTS_WITHIN_S = 120.0  # kernels may have to be compiled


class Served:
    """A server process. `kill` and `start` it as often as wanted.

    Args:
      arguments: of `fluxshard serve`, without address and security.
      directory: for certificates and logs.
    """

    def __init__(self, arguments: list[str], directory: Path) -> None:
        self._arguments, self._directory = arguments, directory
        self.site: SiteFiles = make_site(
            directory / "certs", hosts=("127.0.0.1", "localhost"), clients=("edge",), days=1, overwrite=True
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def client_tls(self) -> ClientTls:
        """What an edge needs."""
        certs = self._directory / "certs"
        return ClientTls(
            authority=certs / "ca.pem", certificate=certs / "edge.pem", key=certs / "edge.key", server_name=None
        )

    def start(self) -> int:
        """Starts it on the port that it had, or any; returns the port."""
        ready, certs = self._directory / "ready", self._directory / "certs"
        ready.unlink(missing_ok=True)
        log = (self._directory / "serve.log").open("ab")
        command = [
            sys.executable, "-c", "from fluxshard.cli import main; main()", "serve", *self._arguments,
            "--listen", f"127.0.0.1:{self.port}",
            "--tls-cert", str(certs / "server.pem"), "--tls-key", str(certs / "server.key"),
            "--client-ca", str(certs / "ca.pem"), "--ready-file", str(ready),
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)
        log.close()
        until = time.monotonic() + STARTS_WITHIN_S
        while not ready.exists():
            assert self._process.poll() is None and time.monotonic() < until, self.log()
            time.sleep(0.05)
        self.port = int(ready.read_text().strip().rpartition(":")[2])
        return self.port

    def log(self) -> str:
        """What it has printed."""
        return (self._directory / "serve.log").read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """Kills it without warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Asks it to stop; returns its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(60)


@contextlib.contextmanager
def served(arguments: list[str], directory: Path) -> Iterator[Served]:
    """A server that runs while it is entered."""
    server = Served(arguments, directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()
