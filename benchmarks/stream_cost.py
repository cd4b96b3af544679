"""What one stream costs a server, at several rates: processor time by stage, bytes, memory.

    python -m benchmarks.stream_cost --frames 150

A server of its own process takes one stream after another, with payload `bitstream` (all packets of the video go up;
every n-th picture is run) and `packed` (the pixels to recompute of every n-th picture). Frames follow each other at
once. Processor time is that of the server and of its decoding processes, so that other programs on the machine do not
count. Memory is what the server's process gains with several streams that hold full caches, and again once they are
parked. The edge's engine does not run.
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
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.server_load import REUSE, SIZE, prepare, process_figures
from fluxshard import video
from fluxshard.cloud.decoding.fingerprint import decoder_fingerprint
from fluxshard.cloud.edge.cloud_endpoint import CloudEndpoint
from fluxshard.cloud.edge.connection.link import CloudLink, LinkOptions
from fluxshard.cloud.edge.connection.upload import Answered
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.edge.options import PayloadName
from fluxshard.cloud.edge.payload.open_payload import open_payload
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.network.grpc_transport import GrpcTransport
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import cloud_policy
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs
from fluxshard.runtime.stream import Program
from fluxshard.video.letterbox import Letterbox
from tests.offload.served import Served, served

CLIPS = {"motorway, moving camera": "carnd_solidWhiteRight_540p25.mp4", "street": "openpose_street_720p50.avi"}
WITHIN_S = 30.0


@dataclass
class Cost:
    """What the frames of one stream took."""

    results: list[pb.Result] = field(default_factory=list)
    sent: int = 0
    cpu_s: float = 0.0
    pictures: int = 0


class CostStream:
    """One stream of a client without an engine, whose pictures may be left out.

    Args:
      program, hello: as `prepare` gives them.
      name: of the stream.
      payload: what goes up.
      source: of the frames, opened with packets where the payload needs them.
      frame: the first of them.
      server: that runs.
    """

    def __init__(
        self, program: Program, hello: pb.Hello, name: str, payload: PayloadName, source: video.VideoSource,
        frame: video.Frame, server: Served,
    ) -> None:  # fmt: skip
        greeting = pb.Hello()
        greeting.CopyFrom(hello)
        greeting.stream, greeting.payload = name, payload
        packets = source.packet_stream
        if payload == "bitstream":
            assert packets is not None
            greeting.decoder = decoder_fingerprint()
            greeting.picture_height, greeting.picture_width = packets.picture_size
            greeting.padded = not packets.encoded_here and frame.letterbox == Letterbox(packets.picture_size, None)
        transport = GrpcTransport(f"127.0.0.1:{server.port}", tls=server.client_tls(), token=None, insecure=False)
        self._wake = threading.Event()
        self._link = CloudLink(transport, greeting, LinkOptions(connect_s=20.0, silence_s=WITHIN_S))
        plan = program.engine.plan
        orders = work_orders(plan, REUSE)
        made = open_payload(payload, orders, plan.image_size, source.request_keyframe)
        mirror = Mirror(cloud_policy(program, REUSE, sparse_image=made.is_sparse), plan.image_size)
        self._endpoint = CloudEndpoint(self._link, mirror, orders, made, Estimates(), wake=self._wake.set)
        end = time.monotonic() + WITHIN_S
        while not self._link.state.is_open:
            if time.monotonic() > end:
                sys.exit(f"the server is not there: {self._link.state.reason}")
            time.sleep(0.02)

    def take(self, frame: video.Frame, *, run: bool) -> pb.Result | None:
        """Takes a picture, and runs it or not; the figures of one that was run."""
        record = PlacementRecord(
            frame=0, inputs=DispatchInputs(edge_ms=None, cloud_ms=None),
            decision=Decision(endpoint="cloud", edge_ms=None, cloud_ms=None, reason=""),
        )  # fmt: skip
        self._endpoint.advance(frame.motion)
        if not run or self._endpoint.closed_because(frame):
            self._endpoint.forward(frame, record)
            return None
        proposal = self._endpoint.propose(frame.planes)
        flight = self._endpoint.send(frame, proposal, (0.0,), record, answer=True, budget_ms=0)
        end = time.monotonic() + WITHIN_S
        while flight.upload.outcome is None and time.monotonic() < end:
            self._wake.wait(0.05)
            self._wake.clear()
        self._endpoint.settle()
        outcome = flight.upload.outcome
        return outcome.result if isinstance(outcome, Answered) else None

    @property
    def bytes_sent(self) -> int:
        """Of all messages so far."""
        return self._link.bytes_sent

    def close(self) -> None:
        """Ends the stream."""
        self._endpoint.close()


def family(pid: int) -> list[Path]:
    """A process and those that it has started, as the kernel describes them."""
    found, more = [], [pid]
    while more:
        process = Path(f"/proc/{more.pop()}")
        found.append(process)
        for thread in (process / "task").iterdir():
            more += map(int, (thread / "children").read_text().split())
    return found


def processor_s(pid: int) -> float:
    """Processor time of a process and of those that it has started; that of children which have ended, too."""
    ticks = 0
    for process in family(pid):
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def looped(path: Path, *, packets: bool, pictures: int) -> Iterator[tuple[video.VideoSource, video.Frame]]:
    """Pictures of a video, from its beginning; no more than it has."""
    with video.open(path, size=SIZE, packets=packets, max_frames=pictures) as source:
        for frame in source:
            yield source, frame


def measure(
    program: Program, hello: pb.Hello, payload: PayloadName, path: Path, step: int, pictures: int, server: Served
) -> Cost:
    """Runs every n-th picture of a clip; the first two that are run are not counted."""
    cost, stream, warm = Cost(), None, 2 * step
    began_cpu = began_bytes = 0.0
    for number, (source, frame) in enumerate(looped(path, packets=payload == "bitstream", pictures=pictures)):
        if stream is None:
            stream = CostStream(program, hello, f"cost/{payload}/{step}", payload, source, frame, server)
        if number == warm:
            began_cpu, began_bytes = processor_s(server.pid), float(stream.bytes_sent)
        result = stream.take(frame, run=number % step == 0)
        if number >= warm:
            cost.pictures += 1
            if result is not None:
                cost.results.append(result)
    assert stream is not None
    time.sleep(0.2)  # what was forwarded last is decoded
    cost.cpu_s, cost.sent = processor_s(server.pid) - began_cpu, round(stream.bytes_sent - began_bytes)
    stream.close()
    return cost


def rates(program: Program, hello: pb.Hello, data: Path, pictures: int, server: Served) -> None:
    """Prints what streams cost at several rates."""
    print("| clip | payload | every | frames | inference ms | decode ms | CPU ms a frame | kB a frame | keyframes |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for title, name in CLIPS.items():
        for payload in ("bitstream", "packed"):
            for step in (1, 5, 25):
                cost = measure(program, hello, payload, data / "videos" / name, step, pictures, server)
                n = len(cost.results)
                if not n:
                    sys.exit(f"{title}, {payload}, every {step}: no frame was answered")
                inference = statistics.median(result.inference_ms for result in cost.results)
                decode = statistics.median(result.decode_ms for result in cost.results)
                keys = sum(result.keyframe for result in cost.results)
                print(
                    f"| {title} | {payload} | {step} | {n} | {inference:.1f} | {decode:.1f} | "
                    f"{1e3 * cost.cpu_s / n:.1f} | {cost.sent / n / 1e3:.1f} | {keys} |",
                    flush=True,
                )


def memory(program: Program, hello: pb.Hello, data: Path, count: int, park_s: float, server: Served) -> None:
    """Prints what streams hold that are idle: with a full cache, parked, and gone."""
    path = data / "videos" / CLIPS["street"]
    rows = []
    for payload in ("bitstream", "packed"):
        before = everything_mib(server.pid)
        streams: list[CostStream] = []
        for number in range(count):
            for index, (source, frame) in enumerate(looped(path, packets=payload == "bitstream", pictures=2)):
                if index == 0:
                    streams.append(
                        CostStream(program, hello, f"idle/{payload}/{number}", payload, source, frame, server)
                    )
                streams[-1].take(frame, run=True)
        full = everything_mib(server.pid)
        time.sleep(park_s + 5.0)
        parked = everything_mib(server.pid)
        began = processor_s(server.pid)
        time.sleep(10.0)
        idle_ms = 1e3 * (processor_s(server.pid) - began) / 10.0 / count
        for stream in streams:
            stream.close()
        rows.append(f"| {payload} | {(full - before) / count:.0f} | {(parked - before) / count:.0f} | {idle_ms:.2f} |")
        time.sleep(1.0)
    print(f"\n{count} idle streams, each:\n")
    print("| payload | MiB with a full cache | MiB parked | CPU ms a second |")
    print("|---|---|---|---|")
    print("\n".join(rows), flush=True)


def everything_mib(pid: int) -> float:
    """Memory of a server and of its decoding processes: what each has for itself, and its share of the rest."""
    kib = 0
    for process in family(pid):
        lines = (process / "smaps_rollup").read_text().splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n.pt")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--idle", type=int, default=8)
    options = parser.parse_args()
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    program, _, hello = prepare(data, options.model)
    arguments = ["--model", str(data / "weights" / options.model), "--size", "x".join(map(str, SIZE)), "--park", "3"]
    with tempfile.TemporaryDirectory() as directory, served(arguments, Path(directory)) as server:
        held = process_figures(server.pid)["MiB"]
        print(f"{options.model} at {SIZE[0]}x{SIZE[1]}; server without streams: {held} MiB\n")
        rates(program, hello, data, options.frames, server)
        memory(program, hello, data, options.idle, 3.0, server)


if __name__ == "__main__":
    main()
