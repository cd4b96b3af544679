"""Figures of a server for Prometheus. Streams and callers are not named: they are in logs."""

from __future__ import annotations

from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from fluxshard.cloud.server.metrics import FrameEnd
from fluxshard.cloud.wire.proto import offload_pb2 as pb

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
_STAGES = ("upload", "queue", "decode", "inference", "answer")
_REASONS = ("full", "draining", "model", "protocol", "identity", "taken", "invalid", "failed")


class Load(Protocol):
    """What a server holds now; see `StreamServer`."""

    @property
    def connected(self) -> int:
        """Streams that are open."""
        ...

    @property
    def cached_bytes(self) -> int:
        """Memory of all streams' cached features."""
        ...

    @property
    def queue_depth(self) -> int:
        """Frames that wait or run."""
        ...


class PrometheusObserver:
    """See `Observer`; counts in a registry of its own.

    Attributes:
      registry: holds the figures; two servers in one process have two.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._frames = Counter("fluxshard_frames", "Frames, by how they ended.", ["end"], registry=registry)
        for end in FrameEnd:
            self._frames.labels(end.value)  # a series that appears with its first count has no first count
        self._failures = Counter(
            "fluxshard_frame_failures", "Frames that failed because of the server.", registry=registry
        )
        self._refusals = Counter("fluxshard_refusals", "Streams refused or ended.", ["reason"], registry=registry)
        for reason in _REASONS:
            self._refusals.labels(reason)
        self._opened = Counter("fluxshard_streams_opened", "Streams that were taken.", registry=registry)
        self._stages = Histogram(
            "fluxshard_stage_seconds",
            "Time of each stage of a frame, from its first byte to its answer.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._server = Histogram(
            "fluxshard_server_seconds",
            "Time from a frame's last byte to its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._work = Histogram(
            "fluxshard_compute_ratio",
            "Multiply-accumulates of a frame over those of a keyframe.",
            buckets=(0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0),
            registry=registry,
        )
        self._upload_bytes = Counter("fluxshard_upload_bytes", "Bytes of frames that ran.", registry=registry)
        self._answer_bytes = Counter("fluxshard_answer_bytes", "Bytes of answers.", registry=registry)
        self._keyframes = Counter("fluxshard_keyframes", "Frames that were computed whole.", registry=registry)
        self._connected = Gauge("fluxshard_streams_connected", "Streams that are open.", registry=registry)
        self._cached = Gauge("fluxshard_cached_bytes", "Memory of cached features.", registry=registry)
        self._depth = Gauge("fluxshard_queue_depth", "Frames that wait or run.", registry=registry)
        ProcessCollector(registry=registry)

    def watch(self, load: Load) -> None:
        """Reads what a server holds at every scrape, in the scraper's thread."""
        self._connected.set_function(lambda: load.connected)
        self._cached.set_function(lambda: load.cached_bytes)
        self._depth.set_function(lambda: load.queue_depth)

    def frame(self, end: FrameEnd, result: pb.Result | None = None) -> None:
        """See `Observer.frame`."""
        self._frames.labels(end.value).inc()
        if result is None:
            return
        for stage in _STAGES:
            self._stages.labels(stage).observe(getattr(result, f"{stage}_ms") / 1e3)
        self._server.observe(result.server_ms / 1e3)
        self._work.observe(result.compute_ratio)
        self._upload_bytes.inc(result.upload_bytes)
        self._answer_bytes.inc(result.answer_bytes)
        self._keyframes.inc(int(result.keyframe))

    def failed(self, error: Exception) -> None:
        """See `Observer.failed`."""
        self._failures.inc()

    def event(self, name: str, **facts: Any) -> None:
        """See `Observer.event`."""
        if name == "stream_refused":
            self._refusals.labels(facts["reason"]).inc()
        elif name == "stream_opened":
            self._opened.inc()
