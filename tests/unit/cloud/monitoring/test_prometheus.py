"""Figures: counted, scraped over HTTP, parsed, and without names."""

from __future__ import annotations

import socket
import threading
import urllib.request
from dataclasses import dataclass

import pytest

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed: pip install '.[cloud]'")

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from fluxshard.cloud.monitoring.observers import Observers
from fluxshard.cloud.monitoring.prometheus import PrometheusObserver
from fluxshard.cloud.monitoring.scrape_server import ScrapeServer
from fluxshard.cloud.server.metrics import FrameEnd
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import OptionError, TransportError

RESULT = pb.Result(
    keyframe=True, compute_ratio=0.5, upload_ms=20.0, upload_bytes=1000, queue_ms=1.5, decode_ms=3.0,
    inference_ms=40.0, answer_ms=0.5, server_ms=45.0, answer_bytes=7,
)  # fmt: skip


@dataclass
class Load:
    """What a server holds."""

    connected: int = 3
    cached_bytes: int = 1 << 20
    queue_depth: int = 2


def scrape(address: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, by name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_counted_is_scraped() -> None:
    figures, load = PrometheusObserver(), Load()
    figures.watch(load)
    observer = Observers(figures)
    with ScrapeServer(figures.registry, "127.0.0.1:0") as server:
        before = scrape(server.address)
        observer.frame(FrameEnd.ANSWERED, RESULT)
        observer.frame(FrameEnd.REFRESHED, RESULT)
        observer.frame(FrameEnd.REJECTED)
        observer.failed(ValueError("x"))
        observer.event("stream_opened", stream="cam1", caller="edge1", epoch=1)
        observer.event("stream_refused", reason="full", caller="edge1", address="ipv4:1.2.3.4:5")
        observer.event("something_else", stream="cam1")
        load.connected = 4
        after = scrape(server.address)

    def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before[key]

    assert {end.value: grown("fluxshard_frames_total", end=end.value) for end in FrameEnd} == {
        "answered": 1, "refreshed": 1, "rejected": 1, "needs_key": 0,
    }  # fmt: skip
    assert grown("fluxshard_frame_failures_total") == grown("fluxshard_streams_opened_total") == 1
    assert (
        grown("fluxshard_refusals_total", reason="full") == 1 and grown("fluxshard_refusals_total", reason="model") == 0
    )
    assert (grown("fluxshard_upload_bytes_total"), grown("fluxshard_answer_bytes_total")) == (2000, 14)
    assert grown("fluxshard_keyframes_total") == 2
    for stage, seconds in (
        ("upload", 0.02),
        ("queue", 0.0015),
        ("decode", 0.003),
        ("inference", 0.04),
        ("answer", 5e-4),
    ):
        assert after["fluxshard_stage_seconds_sum", (("stage", stage),)] == pytest.approx(2 * seconds)
        assert after["fluxshard_stage_seconds_count", (("stage", stage),)] == 2
    assert after["fluxshard_server_seconds_sum", ()] == pytest.approx(0.09)
    assert (before["fluxshard_streams_connected", ()], after["fluxshard_streams_connected", ()]) == (3, 4)
    assert (after["fluxshard_cached_bytes", ()], after["fluxshard_queue_depth", ()]) == (1 << 20, 2)
    words = " ".join(f"{name} {labels}" for name, labels in after)
    assert not any(name in words for name in ("cam1", "edge1", "1.2.3.4"))


def test_two_servers_in_one_process_do_not_share_figures() -> None:
    known = set(REGISTRY._names_to_collectors)
    one, other = PrometheusObserver(), PrometheusObserver()
    one.frame(FrameEnd.REJECTED)
    assert other.registry.get_sample_value("fluxshard_frames_total", {"end": "rejected"}) == 0
    assert set(REGISTRY._names_to_collectors) == known


def test_a_scrape_server_ends_with_its_thread_and_its_port() -> None:
    threads = threading.active_count()
    server = ScrapeServer(PrometheusObserver().registry, "127.0.0.1:0")
    assert scrape(server.address)
    server.close()
    assert threading.active_count() == threads
    host, port = server.address.split(":")
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), 5).close()


def test_a_port_that_is_taken() -> None:
    registry = PrometheusObserver().registry
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TransportError, match=f"cannot listen on {address} for metrics: Address already in use"):
            ScrapeServer(registry, address)
    with pytest.raises(OptionError, match="is not an address"):
        ScrapeServer(registry, "9000")
