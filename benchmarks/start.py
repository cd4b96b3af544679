"""How long a model takes to start: compiled from its weights, and opened as it was saved; each in processes of its own.

python -m benchmarks.start --model yolo11n-seg.pt --size 384x640 --video clip.mp4

With a video, also how long `fluxshard run` takes from the command to the line of its first frame. Modules are compiled
to bytecode by the first process, as those of an installed package are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import fluxshard
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import network_shape

START = """
import json, sys, time
marks = [time.perf_counter()]
import torch
marks.append(time.perf_counter())
import fluxshard
path, height, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
image = torch.rand(1, 3, height, width)
if path.endswith(".fluxshard"):
    model = fluxshard.load(path)
else:
    from fluxshard.models.loading.load import load
    model = fluxshard.compile(load(path).net, image)
marks.append(time.perf_counter())
with model.session() as session:
    session.run(image)
marks.append(time.perf_counter())
print(json.dumps([b - a for a, b in zip(marks, marks[1:])]))
"""


def environment() -> dict[str, str]:
    """That of this process, in which modules may be kept as bytecode, and waiting threads sleep."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}


def measured(path: Path, shape: tuple[int, int], repeats: int) -> list[float]:
    """Median seconds of importing torch, of getting the model ready, and of the first frame."""
    rows = []
    for _ in range(repeats + 1):  # the first fills the caches of files and kernels
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", START, str(path), *map(str, shape)],
            env=environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        rows.append(json.loads(done.stdout))
    return [statistics.median(column) for column in zip(*rows[1:], strict=True)]


def first_line(model: Path, video: Path, folder: Path) -> float:
    """Seconds from the command until the line of the first frame has been written.

    Raises:
      RuntimeError: the run ended before.
    """
    lines = folder / "frames.jsonl"
    run = ["run", str(video), "--model", str(model), "--no-film", "--out", str(folder), "--overwrite"]
    lines.unlink(missing_ok=True)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", "from fluxshard.cli import main; main()", *run], env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not (lines.exists() and lines.stat().st_size):
            if process.poll() is not None:
                raise RuntimeError(f"fluxshard {' '.join(run)} ended with {process.returncode} before its first frame")
            time.sleep(0.002)
        return time.perf_counter() - started
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--size", default="384x640")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--video", type=Path, help="for the whole command; of a shape that the size fits")
    given = parser.parse_args()
    loaded = load(given.model)
    shape = network_shape(given.size, (1, 1), loaded)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model.fluxshard"
        fluxshard.compile(loaded.net, torch.zeros(1, 3, *shape)).save(saved, loaded=loaded)
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{'seconds':24}{'import torch':>14}{'ready':>8}{'first frame':>14}")
        for name, path in (("weights, kernels cached", given.model), ("saved model", saved)):
            torch_s, ready, first = measured(path, shape, given.repeats)
            print(f"{name:24}{torch_s:14.2f}{ready:8.2f}{first:14.2f}")
        if given.video is not None:
            _, *times = (first_line(saved, given.video, Path(folder) / "run") for _ in range(given.repeats + 1))
            median, most = statistics.median(times), max(times)
            print(f"first line of fluxshard run: {min(times):.2f} to {most:.2f}, median {median:.2f}")


if __name__ == "__main__":
    main()
