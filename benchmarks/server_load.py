"""What a server holds: many streams at once, and reconnects for a long time.

    python -m benchmarks.server_load capacity --idle 64 --active 8 --seconds 60
    python -m benchmarks.server_load soak --minutes 30

`capacity` opens idle streams, each with a full cache, and active ones at 1 frame a second; it reports latency, missed
deadlines of a second and the server's memory. `soak` runs one stream at 10 frames a second through a proxy that cuts
the link every 5 s, and reports memory, descriptors and threads of both processes over time. The server is a process of
its own, with TLS; the edge's engine does not run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

import fluxshard
from fluxshard import video
from fluxshard.cloud.compute import compute_of
from fluxshard.cloud.edge.cloud_endpoint import CloudEndpoint
from fluxshard.cloud.edge.connection.link import CloudLink, LinkOptions
from fluxshard.cloud.edge.connection.upload import Answered
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.edge.payload.open_payload import open_payload
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.wire.messages import PROTOCOL
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.reuse_codec import encode_reuse
from fluxshard.models.loading.load import load
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import cloud_policy
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs
from fluxshard.runtime.stream import Program
from fluxshard.runtime.threshold_profile import weights_digest
from tests.offload.link_proxy import LinkProxy
from tests.offload.served import Served, served

SIZE = (384, 640)
REUSE = ReuseOptions(policy="planned")


@dataclass
class Stream:
    """One stream of a client without an engine."""

    link: CloudLink
    endpoint: CloudEndpoint
    wake: threading.Event

    def run(self, frame: video.Frame, seconds: float) -> tuple[str, float]:
        """Sends a frame; what became of it within a time, and after how many milliseconds."""
        start = time.monotonic()
        self.endpoint.advance(frame.motion)
        closed = self.endpoint.closed_because(frame)
        if closed:
            return closed, 0.0
        proposal = self.endpoint.propose(frame.planes)
        record = PlacementRecord(
            frame=0, inputs=DispatchInputs(edge_ms=None, cloud_ms=None),
            decision=Decision(endpoint="cloud", edge_ms=None, cloud_ms=None, reason=""),
        )  # fmt: skip
        flight = self.endpoint.send(frame, proposal, (0.0,), record, answer=True, budget_ms=0)
        while flight.upload.outcome is None and time.monotonic() - start < seconds:
            self.wake.wait(0.05)
            self.wake.clear()
        self.endpoint.settle()
        outcome = flight.upload.outcome
        name = "late" if outcome is None else "answered" if isinstance(outcome, Answered) else type(outcome).__name__
        return name, 1e3 * (time.monotonic() - start)


def open_stream(program: Program, weights: str, hello: pb.Hello, name: str, server: Served, port: int) -> Stream:
    """A stream of its own name; it connects by itself."""
    greeting = pb.Hello()
    greeting.CopyFrom(hello)
    greeting.stream = name
    transport = GrpcTransport(f"127.0.0.1:{port}", tls=server.client_tls(), token=None, insecure=False)
    link = CloudLink(transport, greeting, LinkOptions(connect_s=10.0))
    wake = threading.Event()
    plan = program.engine.plan
    orders = work_orders(plan, REUSE)
    endpoint = CloudEndpoint(
        link, Mirror(cloud_policy(program, REUSE, sparse_image=True), plan.image_size), orders,
        open_payload("packed", orders, plan.image_size, lambda: None), Estimates(), wake=wake.set,
    )  # fmt: skip
    return Stream(link, endpoint, wake)


def process_figures(pid: int) -> dict[str, int]:
    """MiB of memory, descriptors and threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "MiB": int(fields["VmRSS"].split()[0]) >> 10,
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(fields["Threads"].split()[0]),
    }


def prepare(data: Path, weights_name: str) -> tuple[Program, str, pb.Hello]:
    """The model's program, digest and greeting."""
    loaded = load(data / "weights" / weights_name, "auto")
    model = fluxshard.compile(loaded.net, torch.zeros(1, 3, *SIZE))
    program = model.specialise(torch.zeros(1, 3, *SIZE)).program
    weights, compute = weights_digest(program.engine.plan, model.weights), compute_of(model)
    hello = pb.Hello(
        protocol=PROTOCOL, plan=program.engine.plan.digest(), weights=weights, reuse=encode_reuse(REUSE),
        payload="packed", answer="detections", confidence=0.25, iou=0.7, dtype=compute.dtype, backend=compute.backend,
        isa=compute.isa, version=compute.version,
    )  # fmt: skip
    return program, weights, hello


def looped(path: Path) -> Iterator[video.Frame]:
    """Frames of a video, again and again."""
    while True:
        with video.open(path, size=SIZE) as source:
            yield from source


def wait_open(streams: list[Stream], seconds: float = 60.0) -> None:
    """Waits until all links are open."""
    until = time.monotonic() + seconds
    while not all(stream.link.state.is_open for stream in streams):
        if time.monotonic() > until:
            sys.exit(f"not open: {[s.link.state.reason for s in streams if not s.link.state.is_open][:3]}")
        time.sleep(0.05)


def capacity(data: Path, idle: int, active: int, seconds: float) -> None:
    """Prints what a server does with so many streams."""
    program, weights, hello = prepare(data, "yolo11n.pt")
    arguments = ["--model", str(data / "weights/yolo11n.pt"), "--size", "384x640", "--max-streams", str(idle + active)]
    arguments += ["--lease", "3600", "--cache-gb", "16"]
    clips = sorted((data / "davis/JPEGImages/480p").iterdir())
    with tempfile.TemporaryDirectory() as directory, served(arguments, Path(directory)) as server:
        before = process_figures(server.pid)
        streams = [open_stream(program, weights, hello, f"s{i}", server, server.port) for i in range(idle + active)]
        wait_open(streams)
        first = next(looped(clips[0]))
        for stream in streams[active:]:
            name, _ = stream.run(first, 30.0)
            assert name == "answered", name
        held = process_figures(server.pid)
        found: list[tuple[str, float]] = []
        lock, until = threading.Lock(), time.monotonic() + seconds

        def play(index: int) -> None:
            frames = looped(clips[index % len(clips)])
            begin = time.monotonic() + index / active
            for number, frame in enumerate(frames):
                due = begin + number
                if due > until:
                    return
                time.sleep(max(0.0, due - time.monotonic()))
                result = streams[index].run(frame, 1.0)
                with lock:
                    found.append(result)

        threads = [threading.Thread(target=play, args=(index,)) for index in range(active)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = process_figures(server.pid)
        for stream in streams:
            stream.endpoint.close()
        time.sleep(2.0)
        gone = process_figures(server.pid)
    times = sorted(ms for name, ms in found if name == "answered")
    missed = [name if name != "answered" else f"{ms:.0f} ms" for name, ms in found if name != "answered" or ms > 1e3]
    print(f"{idle} idle and {active} active streams of YOLO11n at 384x640, 1 frame a second each, {seconds:.0f} s\n")
    print(
        "| frames | missed 1 s | median ms | p95 ms | max ms | server MiB before / with all caches / after / closed |"
    )
    print("|---|---|---|---|---|---|")
    p95 = times[int(0.95 * (len(times) - 1))]
    memory = " / ".join(str(one["MiB"]) for one in (before, held, after, gone))
    print(f"| {len(found)} | {len(missed)} | {statistics.median(times):.0f} | {p95:.0f} | {times[-1]:.0f} | {memory} |")
    if missed:
        print(f"\nmissed: {sorted(set(missed))}")


def soak(data: Path, minutes: float) -> None:
    """Prints figures of both processes while the link is cut every 5 s."""
    program, weights, hello = prepare(data, "yolo11n.pt")
    arguments = ["--model", str(data / "weights/yolo11n.pt"), "--size", "384x640"]
    with (
        tempfile.TemporaryDirectory() as directory,
        served(arguments, Path(directory)) as server,
        LinkProxy(server.port) as proxy,
    ):
        stream = open_stream(program, weights, hello, "soak", server, proxy.port)
        wait_open([stream])
        start, cut_at, told_at, cuts = time.monotonic(), 5.0, 0.0, 0
        counts: dict[str, int] = {}
        print("| minute | cuts | answered | not open | other | server MiB / fds / threads | edge MiB / fds / threads |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for frame in looped(data / "davis/JPEGImages/480p/camel"):
            now = time.monotonic() - start
            if now > 60 * minutes:
                break
            if now > cut_at:
                proxy.cut()
                cut_at, cuts = cut_at + 5.0, cuts + 1
            name, _ = stream.run(frame, 2.0)
            name = name if name in ("answered", "late", "Lost", "KeyNeeded") else "not open"
            counts[name] = counts.get(name, 0) + 1
            if now > told_at:
                told_at += 60.0 if minutes > 3 else 10.0
                both = [process_figures(pid) for pid in (server.pid, os.getpid())]
                other = sum(n for key, n in counts.items() if key not in ("answered", "not open"))
                cells = " | ".join(" / ".join(str(value) for value in one.values()) for one in both)
                answered, closed = counts.get("answered", 0), counts.get("not open", 0)
                print(f"| {now / 60:.1f} | {cuts} | {answered} | {closed} | {other} | {cells} |", flush=True)
            time.sleep(max(0.0, 0.1 - (time.monotonic() - start - now)))
        stream.endpoint.close()


def main() -> None:
    """Runs one of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("capacity", "soak"))
    parser.add_argument("--idle", type=int, default=64)
    parser.add_argument("--active", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if options.what == "capacity":
        capacity(data, options.idle, options.active, options.seconds)
    else:
        soak(data, options.minutes)


if __name__ == "__main__":
    main()
