"""What two places cost on the edge: bookkeeping of a frame, and image tests of both endpoints.

    python -m benchmarks.offload --model yolo11n.pt --video davis/JPEGImages/480p/camel --size 640x640

No network: the server is a stand-in that has run every frame at once, so that only the edge's own work is timed. Image
tests are timed in blocks: the edge's alone, the server's alone, and both for every frame.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import fluxshard
from fluxshard import video
from fluxshard.cloud.edge.cloud_endpoint import CloudEndpoint
from fluxshard.cloud.edge.connection.link import LinkState
from fluxshard.cloud.edge.connection.upload import Answered, Upload
from fluxshard.cloud.edge.edge_runner import EdgeRunner
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.edge.payload.open_payload import open_payload
from fluxshard.cloud.edge.two_places import TwoPlaces
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import parse_size
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import cloud_policy, edge_policy
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.runtime.offload.work_features import work_features
from fluxshard.runtime.stream import Program


@dataclass
class Clock:
    """Time spent in some functions, per frame."""

    seconds: float = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def run(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - start

        return run

    def take_ms(self) -> float:
        """Milliseconds since the last time."""
        seconds, self.seconds = self.seconds, 0.0
        return 1e3 * seconds


@dataclass
class InstantLink:
    """A link to a server that runs every frame at once."""

    state: LinkState = field(
        default_factory=lambda: LinkState(is_open=True, epoch=1, welcome=pb.Welcome(epoch=1), credit_bytes=1 << 24)
    )
    backlog_bytes: int = 0

    def submit(self, upload: Upload) -> None:
        """Answers at once."""
        sent = 0
        while (message := upload.next_message(sent)) is not None:
            sent += len(message)
        upload.acknowledge(sent)
        result = pb.Result(seq=upload.seq, epoch=1, inference_ms=1.0, upload_ms=1.0, upload_bytes=upload.n_bytes)
        upload.finish(Answered(result=result, answer=b""))

    def forward(self, messages: list[bytes]) -> None:
        """Takes them."""

    def drop_waiting(self) -> None:
        """Has none."""

    def close(self) -> None:
        """Nothing to close."""


def frames_of(path: Path, size: tuple[int, int], n: int) -> list[video.Frame]:
    """Frames of a video, decoded before anything is timed."""
    with video.open(path, size=size, max_frames=n, packets=True) as source:
        return list(source)


def image_tests(program: Program, reuse: ReuseOptions, frames: list[video.Frame], which: str) -> list[float]:
    """Milliseconds per frame of the image tests of "edge", "cloud" or "both"."""
    size = program.engine.plan.image_size
    mirrors = []
    if which in ("edge", "both"):
        mirrors.append(Mirror(edge_policy(program, reuse), size))
    if which in ("cloud", "both"):
        mirrors.append(Mirror(cloud_policy(program, reuse, sparse_image=False), size))
    times = []
    for frame in frames:
        start = time.perf_counter()
        for mirror in mirrors:
            mirror.advance(frame.motion)
        proposals = [mirror.propose(frame.planes) for mirror in mirrors]
        for mirror, proposal in zip(mirrors, proposals, strict=True):
            mirror.commit(proposal)
        times.append(1e3 * (time.perf_counter() - start))
    return times[1:]


def bookkeeping(program: Program, reuse: ReuseOptions, frames: list[video.Frame], payload_name: str) -> list[float]:
    """Milliseconds per frame that the cloud answers, without image tests, encoding and the wait for the answer."""
    plan = program.engine.plan
    size, orders, wake = plan.image_size, work_orders(plan, reuse), threading.Event()
    estimates, tests, encoding = Estimates(), Clock(), Clock()
    payload: Any = open_payload(payload_name, orders, size, lambda: None)  # type: ignore[arg-type]
    payload.messages = encoding.timed(payload.messages)
    edge, cloud = (
        Mirror(edge_policy(program, reuse), size),
        Mirror(cloud_policy(program, reuse, sparse_image=True), size),
    )
    for mirror in (edge, cloud):
        for name in ("propose", "commit", "advance"):
            setattr(mirror, name, tests.timed(getattr(mirror, name)))
    runner = EdgeRunner(program, wake.set)
    endpoint = CloudEndpoint(InstantLink(), cloud, orders, payload, estimates, wake=wake.set)  # type: ignore[arg-type]
    places = TwoPlaces(
        edge=edge, runner=runner, cloud=endpoint, estimates=estimates, options=DispatchOptions(margin_ms=1e6),
        features=work_features, decode=lambda _: None, finish=lambda outputs: outputs, keep_warm=True, overlaps=True,
        wake=wake, settled=lambda _: None,
    )  # fmt: skip
    times = []
    for frame in frames:
        tests.take_ms(), encoding.take_ms()
        start = time.perf_counter()
        answer = places.run(frame)
        spent = 1e3 * (time.perf_counter() - start)
        if answer.record.answered_by == "cloud":
            times.append(spent - tests.take_ms() - encoding.take_ms())
    places.close()
    return times


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--model", default="yolo11n.pt")
    parser.add_argument("--video", default="davis/JPEGImages/480p/camel")
    parser.add_argument("--size", default="640x640")
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    size = parse_size(options.size)
    size = size if isinstance(size, tuple) else (size, size)
    loaded = load(data / "weights" / options.model, "auto")
    model = fluxshard.compile(loaded.net, torch.zeros(1, 3, *size))
    program = model.specialise(torch.zeros(1, 3, *size)).program
    frames = frames_of(data / options.video, size, options.frames)
    print(f"{options.model}, {options.video}, {size[0]}x{size[1]}, {len(frames)} frames, medians\n")
    print("| policy | edge's test ms | server's test ms | both ms | both / sum | bookkeeping ms (packed) |")
    print("|---|---|---|---|---|---|")
    for name, reuse in (
        ("planned", ReuseOptions(policy="planned")),
        ("propagated", ReuseOptions(tau_input=0.02, tau=0.1)),
    ):
        edge, cloud, both = (
            statistics.median(image_tests(program, reuse, frames, which)) for which in ("edge", "cloud", "both")
        )
        spent = statistics.median(bookkeeping(program, reuse, frames, "packed"))
        print(f"| {name} | {edge:.2f} | {cloud:.2f} | {both:.2f} | {both / (edge + cloud):.2f} | {spent:.2f} |")


if __name__ == "__main__":
    main()
