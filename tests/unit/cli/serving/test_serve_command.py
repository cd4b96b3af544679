"""`fluxshard serve` as users start it: it says when it is ready, serves, tells of itself, and drains."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

from prometheus_client.parser import text_string_to_metric_families

from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.security.site import make_site
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.offload.serve_process import command, environment, serve_process, write_small_model
from fluxshard.testing.offload.two_places import moving_frames, session_of, small_model


def free_address() -> str:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_a_server_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    certs, metrics = tmp_path / "certs", free_address()
    make_site(certs)
    arguments = [
        "--model", write_small_model(tmp_path / "small.pt"), "--size", "32x48", "--size", "64x64",
        "--backend", "reference", "--listen", "127.0.0.1:0", "--metrics", metrics,
        "--tls-cert", certs / "server.pem", "--tls-key", certs / "server.key", "--client-ca", certs / "ca.pem",
        "--log-file", tmp_path / "log", "--log-format", "json", "--drain", "5",
    ]  # fmt: skip
    tls = ClientTls(
        authority=certs / "ca.pem", certificate=certs / "edge.pem", key=certs / "edge.key", server_name=None
    )
    with serve_process(tmp_path, *arguments) as server:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d+", server.address)
        ready = f"fluxshard: serving small at 32x48, 64x64 on {server.address} (mTLS, reference torch float32)\n"
        assert server.stdout == ready
        options = OffloadOptions(payload="raw", stream="cam1", dispatch=DispatchOptions(margin_ms=10_000.0))
        session = session_of(small_model(), GrpcTransport(server.address, tls=tls), options=options)
        frames = moving_frames(400)
        session.run(next(frames))
        until = time.monotonic() + 20
        while not session.link.is_open:
            assert time.monotonic() < until, session.link.reason
            time.sleep(0.01)
        answers: list[str] = []
        while answers.count("cloud") < 5:  # the edge answers what a busy machine makes late
            session.run(next(frames))
            answers.append(session.record.answered_by)
        with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as page:
            text = page.read().decode()
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["fluxshard_frames_total", "answered"] >= answers.count("cloud")
        assert found["fluxshard_streams_connected",] == found["fluxshard_streams_opened_total",] == 1
        assert found["fluxshard_cached_bytes",] > 0 and "cam1" not in text and "edge" not in text
        assert found["fluxshard_stage_seconds_count", "inference"] >= answers.count("cloud")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0  # the edge has moved on, so nothing waits for the deadline
        session.close()
        lines = [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
        events = [line["event"] for line in lines]
        assert events[:2] == ["ready", "stream_opened"] and events[-3:] == ["draining", "stream_closed", "stopped"]
        opened = lines[1]
        assert (opened["stream"], opened["caller"], opened["level"]) == ("cam1", "edge", "info")
        assert lines[-1]["cut_streams"] == 0
        assert server.stdout == ready and not (tmp_path / "ready").exists()
        assert all(line.startswith("note: ") for line in server.stderr.splitlines()), server.stderr


@pytest.mark.slow
def test_failed_handshakes_are_not_printed_and_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    certs, others = tmp_path / "certs", tmp_path / "others"
    make_site(certs)
    make_site(others)
    arguments = [
        "--model", write_small_model(tmp_path / "small.pt"), "--size", "32x48", "--backend", "reference",
        "--listen", "127.0.0.1:0", "--tls-cert", certs / "server.pem", "--tls-key", certs / "server.key",
        "--client-ca", certs / "ca.pem", "--drain", "300",
    ]  # fmt: skip
    with serve_process(tmp_path, *arguments) as server:
        for directory, authority in ((others, certs), (certs, others)):
            tls = ClientTls(
                authority=authority / "ca.pem", certificate=directory / "edge.pem", key=directory / "edge.key",
                server_name=None,
            )  # fmt: skip
            session = session_of(
                small_model(), GrpcTransport(server.address, tls=tls), options=OffloadOptions(payload="raw")
            )
            session.run(next(moving_frames(1)))
            until = time.monotonic() + 20
            while "cannot reach" not in session.link.reason:
                assert time.monotonic() < until
                time.sleep(0.01)
            session.close()
        lines = server.stderr.splitlines()
        assert [line.partition(" ")[0] for line in lines if not line.startswith("note: ")] == [lines[-1].split()[0]]
        assert "event=ready" in lines[-1]

        tls = ClientTls(
            authority=certs / "ca.pem", certificate=certs / "edge.pem", key=certs / "edge.key", server_name=None
        )
        stay = subprocess.Popen(  # an edge that does not go
            [*command()[:2], STAY, server.address, certs],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert stay.stdout is not None and stay.stdout.readline() == "open\n"
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        assert server.process.poll() is None and not (tmp_path / "ready").exists()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == -signal.SIGTERM
        stay.kill()
        stay.communicate()


STAY = """
import asyncio, sys
from pathlib import Path
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.testing.offload.two_places import small_model
from tests.unit.cloud.network.talk import hello, messages

address, certs = sys.argv[1], Path(sys.argv[2])
tls = ClientTls(authority=certs / "ca.pem", certificate=certs / "edge.pem", key=certs / "edge.key", server_name=None)

async def main():
    up = messages(pb.Up(hello=hello(small_model())).SerializeToString(), then=asyncio.Event())
    async for message in GrpcTransport(address, tls=tls).exchange(up):
        print("open", flush=True)

asyncio.run(main())
"""
