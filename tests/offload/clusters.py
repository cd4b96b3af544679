"""`fluxshard serve --workers` as a process, and streams whose workers come and go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxshard.cloud.edge.connection.link import LinkOptions
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.network.open_transport import open_transport
from fluxshard.cloud.security.site import make_site
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.cloud.security.tokens import issue_token, read_secret
from fluxshard.runtime.offload.transport import Transport
from fluxshard.testing.offload.serve_process import ServeProcess, serve_process, write_small_model
from tests.offload.streams import Stream, until

LINK = LinkOptions(silence_s=1.5)
WORKERS = 3


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs."""

    server: ServeProcess
    directory: Path

    def transport(self, identity: str = "edge") -> Transport:
        """Of an edge with a token."""
        tls = ClientTls(authority=self.directory / "certs" / "ca.pem", certificate=None, key=None, server_name=None)
        return open_transport(self.server.address, tls=tls, token=self.token(identity), insecure=False)

    def token(self, identity: str) -> str:
        secret = read_secret(self.directory / "certs" / "secret")
        return issue_token(secret, identity=identity, prefix="", expires=time.time() + 3600)

    def direct(self, address: str) -> GrpcTransport:
        """To the front, or to a worker around it."""
        tls = ClientTls(authority=self.directory / "certs" / "ca.pem", certificate=None, key=None, server_name=None)
        return GrpcTransport(address, tls=tls, token=self.token("edge"))

    def events(self, name: str, **facts: Any) -> list[dict[str, Any]]:
        """Lines of the log."""
        lines = (self.directory / "log").read_text(encoding="utf-8").splitlines()
        found = [line for text in lines if text.endswith("}") and (line := json.loads(text))["event"] == name]
        return [line for line in found if facts.items() <= line.items()]

    def owner(self, stream: str) -> str:
        """The worker that a stream was placed on last."""
        return str(self.events("stream_placed", stream=stream)[-1]["worker"])

    def pid(self, worker: str) -> int:
        """Of a worker's process."""
        return int(self.events("worker_ready", worker=worker)[-1]["pid"])

    def live(self) -> int:
        """Workers that take streams."""
        gone = len(self.events("worker_lost")) + len(self.events("worker_stopped"))
        return len(self.events("worker_ready")) + len(self.events("worker_back")) - gone

    def wait_whole(self) -> None:
        """Waits until what is gone has been replaced."""
        until(lambda: self.live() == WORKERS, 90.0)


@contextmanager
def running(directory: Path, *flags: object) -> Iterator[Cluster]:
    """A cluster of `WORKERS` workers, with tokens, until the context ends; it has to stop when it is told to."""
    certs = directory / "certs"
    make_site(certs)
    arguments = [
        "--model", write_small_model(directory / "small.pt"), "--size", "32x48", "--backend", "reference",
        "--listen", "127.0.0.1:0", "--tls-cert", certs / "server.pem", "--tls-key", certs / "server.key",
        "--token-secret", certs / "secret", "--log-file", directory / "log", "--log-format", "json",
        "--workers", WORKERS, *flags,
    ]  # fmt: skip
    with serve_process(directory, *arguments) as server:
        yield Cluster(server, directory)
        assert server.stop() == 0
        assert server.stdout.startswith(f"fluxshard: {WORKERS} workers serve small behind {server.address}")


def play(streams: list[Stream], done: Callable[[], bool], seconds: float = 30.0) -> None:
    """Frames of all streams in turns, 20 a second each, until something is so."""
    end = time.monotonic() + seconds
    while not done():
        begin = time.monotonic()
        assert begin < end, [stream.session.link for stream in streams]
        for stream in streams:
            stream.run()
        time.sleep(max(0.0, begin + 0.05 - time.monotonic()))


def opened(cluster: Cluster, names: list[str]) -> list[Stream]:
    streams = [Stream(cluster.transport(), stream=name, link=LINK) for name in names]
    for stream in streams:
        stream.warm()
    return streams


def resumed(stream: Stream) -> bool:
    """Whether the cloud has answered the last frame from what it had cached."""
    last = stream.records[-1]
    return last.answered_by == "cloud" and not last.cloud_keyframe


def check_one_keyframe(streams: list[Stream], since: list[int]) -> None:
    """Every output replays, and the cloud has computed at most one frame whole since."""
    for stream, first in zip(streams, since, strict=True):
        stream.check()
        after = stream.settled[first:]
        assert sum(record.cloud_ran and bool(record.cloud_keyframe) for record in after) <= 1
        assert any(record.answered_by == "cloud" and not record.cloud_keyframe for record in after)
