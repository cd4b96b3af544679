"""Latency of whole frames against dense engines, at forced shares of work, in one run.

    python -m benchmarks.frame --model yolo11n.pt --size 640

Prints a Markdown table and writes JSON. Every round measures all contenders one after the other, so that a change of
the machine's clock meets all of them; ratios are medians over rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import fluxshard
from fluxshard.geometry import Grid

CLUSTER_CELLS = 8


def forced_work(grids: tuple[Grid, ...], share: float, seed: int = 0) -> dict[int, NDArray[np.bool_]]:
    """Clusters of 8x8 cells of the coarsest grid's blocks, the same picture regions on every grid, `share` of them."""
    rng = np.random.default_rng(seed)
    image = grids[0]
    block = 64  # px; a multiple of every stride
    rows, columns = -(-image.height // block), -(-image.width // block)
    order = rng.permutation(rows * columns)
    chosen = np.zeros(rows * columns, np.bool_)
    chosen[order[: round(share * len(order))]] = True
    blocks = chosen.reshape(rows, columns)
    work = {}
    for index, grid in enumerate(grids):
        y = np.minimum(np.arange(grid.height) * image.height // grid.height // block, rows - 1)
        x = np.minimum(np.arange(grid.width) * image.width // grid.width // block, columns - 1)
        work[index] = blocks[np.ix_(y, x)]
    return work


def measure(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each contender in each round."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        for _ in range(3):
            run()
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started) * 1e3)
    return times


def cpu_name() -> str:
    """The processor, as the system calls it."""
    text = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("Model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo11n.pt", help="weights, looked for in FLUXSHARD_DATA/weights")
    parser.add_argument("--size", type=int, nargs="+", default=[640, 640], help="H W, or one number for a square")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.5, 0.25, 0.1, 0.05, 0.0])
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    args = parser.parse_args()
    from fluxshard.models.loading import ultralytics

    data = Path(os.environ.get("FLUXSHARD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = Path(args.model) if Path(args.model).exists() else data / "weights" / args.model
    net = ultralytics.load(path).net
    height, width = args.size if len(args.size) == 2 else args.size * 2
    image = torch.rand(1, 3, height, width)
    started = time.perf_counter()
    model = fluxshard.compile(net, image, options=fluxshard.CompileOptions(backend="cpp"))
    compile_s = time.perf_counter() - started
    dense = net.to(memory_format=torch.channels_last)
    dense_image = image.to(memory_format=torch.channels_last)
    contenders: dict[str, Callable[[], object]] = {"torch channels-last": lambda: dense(dense_image)}
    sessions = []
    for share in args.shares:
        session = model.session(fluxshard.ReuseOptions(rfap="off", scene_cut=1.0))
        session.run(image)
        work = forced_work(model.plan.grids, share)
        contenders[f"fluxshard {share:.0%} work"] = lambda s=session, w=work: s.run_with_work(image, None, w)  # type: ignore[misc]
        sessions.append(session)
    with torch.inference_mode():
        times = measure(contenders, args.rounds)
    base = times["torch channels-last"]
    ratios = {name: statistics.median(t / b for t, b in zip(times[name], base, strict=True)) for name in times}
    macs = {
        f"fluxshard {share:.0%} work": s.stats.compute_ratio for share, s in zip(args.shares, sessions, strict=True)
    }
    overhead = {}
    with torch.inference_mode():
        for (name, run), session in zip(list(contenders.items())[1:], sessions, strict=True):
            seen = []
            for _ in range(9):
                run()
                seen.append(session.stats.overhead_ms)
            overhead[name] = statistics.median(seen)
    print(
        f"{path.name} at {height}x{width}, {cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
    )
    print(f"float32, {args.rounds} rounds; compile {compile_s:.1f} s\n")
    print("| contender | median ms | ratio to torch | compute ratio | outside convolutions and islands, ms |")
    print("|---|---|---|---|---|")
    for name, values in times.items():
        share, extra = (f"{macs[name]:.3f}", f"{overhead[name]:.2f}") if name in macs else ("1", "")
        print(f"| {name} | {statistics.median(values):.1f} | {ratios[name]:.2f} | {share} | {extra} |")
    if args.out:
        args.out.write_text(json.dumps({"cpu": cpu_name(), "ratios": ratios, "ms": times, "macs": macs}, indent=1))


if __name__ == "__main__":
    main()
