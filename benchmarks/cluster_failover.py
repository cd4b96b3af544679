"""What a worker that dies or freezes costs its streams, with real processes: time without an answer of the cloud.

    python -m benchmarks.cluster_failover --streams 12 --kills 4 --stops 2

A small network, so that three workers fit on a small machine; TLS and tokens; every stream runs 5 frames a second.
Times are from the signal to the first frame that the new worker has answered; the edge answers all frames in between.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path

from fluxshard.cloud.edge.connection.link import LinkOptions
from fluxshard.cloud.wire.messages import read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.runtime.offload.dispatch import DispatchOptions
from tests.offload.clusters import Cluster, running
from tests.offload.streams import MODEL, Stream, in_links
from tests.unit.cloud.network.talk import hello, messages

PERIOD_S = 0.2
ASKED = 100
ALWAYS_CLOUD = DispatchOptions(margin_ms=10_000.0)


class Camera:
    """A stream that runs in a thread of its own.

    Args:
      cluster: that it goes to.
      name: of the stream.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self.stream = Stream(cluster.transport(), stream=name, link=LinkOptions(), dispatch=ALWAYS_CLOUD)
        self.answers: list[tuple[float, int, bool]] = []  # of the cloud: when, under which epoch, whether a keyframe
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def _play(self) -> None:
        while not self._over.wait(PERIOD_S):
            record = self.stream.run()
            if record.answered_by == "cloud":
                self.answers.append((time.monotonic(), record.epoch, bool(record.cloud_keyframe)))

    def wait(self, epoch: int, seconds: float = 30.0) -> tuple[float, int, bool]:
        """The first answer of the cloud under a later epoch."""
        end = time.monotonic() + seconds
        while True:
            found = next((answer for answer in tuple(self.answers) if answer[1] > epoch), None)
            if found is not None:
                return found
            assert time.monotonic() < end, self.stream.session.link
            time.sleep(0.01)

    def close(self) -> None:
        """Ends the stream, and compares all its outputs with a replay."""
        self._over.set()
        self._thread.join()
        self.stream.check()


def hit(cluster: Cluster, cameras: list[Camera], number: signal.Signals) -> list[float]:
    """Sends a signal to the worker of the first stream; seconds that each of its streams was without the cloud."""
    victim = cluster.owner(cameras[0].name)
    mine = [camera for camera in cameras if cluster.owner(camera.name) == victim]
    epochs = {camera.name: camera.stream.session.link.epoch for camera in mine}
    os.kill(cluster.pid(victim), number)
    sent = time.monotonic()
    return [camera.wait(epochs[camera.name])[0] - sent for camera in mine]


async def asked(cluster: Cluster, count: int) -> list[float]:
    """Milliseconds in which the front tells where a stream goes, each over a connection of its own."""
    found = []
    for number in range(count):
        began = time.perf_counter()
        greeting = pb.Up(hello=hello(MODEL, f"asked{number}")).SerializeToString()
        async for data in cluster.direct(cluster.server.address).exchange(messages(greeting)):
            assert read_down(data).WhichOneof("kind") == "placed"
            break
        found.append(1e3 * (time.perf_counter() - began))
    return found


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=12)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--stops", type=int, default=2)
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as cluster:
        cameras = [Camera(cluster, f"camera{number}") for number in range(options.streams)]
        for camera in cameras:
            camera.wait(0)
        opened = {camera.name: len(cluster.events("stream_placed", stream=camera.name)) for camera in cameras}
        for title, number, count in (
            ("killed (SIGKILL)", signal.SIGKILL, options.kills),
            ("stopped (SIGSTOP)", signal.SIGSTOP, options.stops),
        ):
            for _ in range(count):
                found.setdefault(title, []).extend(hit(cluster, cameras, number))
                cluster.wait_whole()
        for camera in cameras:
            camera.close()
        asking = sorted(in_links(asked(cluster, ASKED)))
        settled = [record for camera in cameras for record in camera.stream.settled]
        keys = sum(bool(record.cloud_keyframe) and record.cloud_ran for record in settled)
        places = sum(len(cluster.events("stream_placed", stream=camera.name)) for camera in cameras)
    print(f"{options.streams} streams at {1 / PERIOD_S:g} fps on 3 workers; {len(settled)} frames, all as in a replay")
    print(f"{keys} keyframes on workers for {places} placings, {sum(opened.values())} of them at the start\n")
    print("| worker | streams hit | median s | p95 s | max s |")
    print("|---|---|---|---|---|")
    for title, seconds in found.items():
        ordered = sorted(seconds)
        p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
        print(f"| {title} | {len(ordered)} | {statistics.median(ordered):.2f} | {p95:.2f} | {ordered[-1]:.2f} |")
    p95 = asking[-ASKED // 20]
    print(f"\na place for a stream, over TLS: median {statistics.median(asking):.1f} ms, p95 {p95:.1f} ms")


if __name__ == "__main__":
    main()
