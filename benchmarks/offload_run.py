"""Draws a run in two places over a link that becomes slow, falls silent and is cut.

Server and edge are two processes with mutual TLS, one core each; `fluxshard edge` runs every frame of a video as soon
as the one before is answered, and a proxy between them changes the link at the times below. What the edge has drawn of
its run is copied to `--picture`.

    python -m benchmarks.offload_run --picture docs/offload_run.png
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fluxshard.pipeline.sinks.json_lines import read_records
from fluxshard.testing.offload.serve_process import command
from tests.offload.link_proxy import LinkProxy
from tests.offload.served import Served, served

DATA = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
VIDEO = "videos/carnd_solidWhiteRight_540p25.mp4"
MODEL = "yolo11n-seg.pt"
MARGIN_MS = 200  # the server is no faster here than the edge: by so much it is preferred

# seconds after the first frame that went up -> what happens to the link
SLOW, FAST, SILENT, CUT, BACK = 3.0, 6.0, 9.0, 13.0, 15.0
SLOW_BYTES_PER_S = 2e5


def main() -> None:
    """Runs it and copies the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=DATA / VIDEO)
    parser.add_argument("--model", type=Path, default=DATA / "weights" / MODEL)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--picture", type=Path, default=Path("runs/offload_run.png"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with ExitStack() as opened:
            with children_on(1):
                server = opened.enter_context(served(["--model", str(given.model), "--size", "384x640"], directory))
            proxy = opened.enter_context(LinkProxy(server.port))
            _run(given, server, proxy, directory)
        records = read_records(directory / "out" / "frames.jsonl")
        given.picture.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(directory / "out" / "summary.png", given.picture)
    placed = [record.placement for record in records if record.placement is not None]
    by = [sum(one["answered_by"] == place for one in placed) for place in ("edge", "cloud")]
    print(f"{len(placed)} frames: edge {by[0]}, cloud {by[1]}, hedged {sum(one['hedged'] for one in placed)}, "
          f"latency at most {max(one['latency_ms'] for one in placed):.0f} ms")  # fmt: skip
    print(f"picture: {given.picture}")


@contextmanager
def children_on(core: int) -> Iterator[None]:
    """Processes that are started meanwhile have one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _run(given: argparse.Namespace, server: Served, proxy: LinkProxy, directory: Path) -> None:
    tls = server.client_tls()
    arguments = command(
        "edge", given.video, "--model", given.model, "--size", "384x640", "--out", directory / "out",
        "--server", f"127.0.0.1:{proxy.port}", "--ca", tls.authority, "--cert", tls.certificate, "--key", tls.key,
        "--margin", MARGIN_MS, "--frames", "every", "--max-frames", given.frames,
    )  # fmt: skip
    with children_on(0):
        edge = subprocess.Popen(arguments)
    while proxy.bytes_up < 100_000 and edge.poll() is None:
        time.sleep(0.01)
    started = time.monotonic()
    for at, what in ((SLOW, "slow"), (FAST, "fast"), (SILENT, "silent"), (CUT, "cut"), (BACK, "back")):
        while time.monotonic() < started + at and edge.poll() is None:
            time.sleep(0.01)
        print(f"{time.monotonic() - started:5.1f} s: the link is {what}", flush=True)
        proxy.up_bytes_per_s = SLOW_BYTES_PER_S if what == "slow" else 0.0
        proxy.silent = what == "silent"
        if what == "cut":
            proxy.target, target = 9, proxy.target  # nobody listens there
            proxy.cut()
        elif what == "back":
            proxy.target = target
    if edge.wait():
        raise SystemExit(f"fluxshard edge failed with status {edge.returncode}")


if __name__ == "__main__":
    main()
