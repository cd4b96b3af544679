"""Which networks of public packages compile, how much of them is sparse, and whether incremental frames are right.

    python -m benchmarks.models --networks networks.txt --out docs/models.md

Every network is compiled in a process of its own, with random weights at a small size that is not square, and runs
moved frames. Two errors are printed, each as the largest difference over the largest number of an output: of a frame
that is computed whole from the network itself (rounding), and of a frame that is computed incrementally, without
thresholds, from the same frame computed whole (law 1). What was measured is kept in `--results`; networks that are
there are not run again. Libraries that are needed: timm, torchvision, ultralytics, segmentation-models-pytorch; what
is missing is an error of its networks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import fluxshard
from benchmarks.model_zoo import Named, build, named, texture

_MARK = "measured: "


def moved(image: Tensor, frame: int) -> tuple[Tensor, fluxshard.MotionField]:
    """The next frame: two halves that move apart and a patch that changes, with motion that is wrong here and there."""
    height, width = image.shape[2:]
    rows, columns = -(-height // 8), -(-width // 8)
    field = np.zeros((rows, columns, 2), np.int16)
    field[:, columns // 2 :] = (0, 8)
    field[: rows // 2] += np.array((16, 0), np.int16)
    dense = np.repeat(np.repeat(field, 8, 0), 8, 1)[:height, :width]
    y, x = np.mgrid[:height, :width]
    y, x = np.clip(y - dense[..., 0], 0, height - 1), np.clip(x - dense[..., 1], 0, width - 1)
    following = image[..., torch.from_numpy(y), torch.from_numpy(x)].clone()
    following[..., 24:40, 8 * frame : 8 * frame + 24] = texture(16, 24, seed=100 + frame)
    field[frame % rows, : columns // 3] = (-24, 16)
    return following, fluxshard.MotionField(field, np.ones((rows, columns), np.bool_), 8)


def error(found: object, wanted: object) -> float:
    """Largest difference over the largest number, of the worst output; infinity where they cannot be compared."""
    worst = 0.0
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(wanted), strict=True)
    for one, two in pairs:
        if not isinstance(two, Tensor) or not two.numel():
            continue
        if one.shape != two.shape:
            return float("inf")
        one, two = (torch.view_as_real(part) if part.is_complex() else part for part in (one, two))
        scale = float(two.double().abs().max().clamp_min(1e-12))
        worst = max(worst, float((one.double() - two.double()).abs().max()) / scale)
    return worst


@torch.no_grad()
def measure(network: Named, backend: str, frames: int) -> dict[str, Any]:
    """Compiles and runs one network."""
    net = build(network)
    height, width = network.size
    image = texture(height, width, seed=2)
    wanted = net(image)
    started = time.perf_counter()
    model = fluxshard.compile(net, image, options=fluxshard.CompileOptions(backend=backend))  # type: ignore[arg-type]
    seconds = time.perf_counter() - started
    plan = model.plan
    sparse = sum(layer.macs for layer in plan.layers if layer.mode == "sparse")
    dense = sorted((layer for layer in plan.layers if layer.macs and layer.mode == "dense"), key=lambda one: -one.macs)
    result: dict[str, Any] = {
        "network": str(network), "size": f"{height}x{width}", "macs": plan.macs,
        "sparse": sparse / max(plan.macs, 1), "compile_s": seconds,
        "dense": [(layer.name, layer.macs, layer.reason) for layer in dense[:4]],
        "islands": sum(layer.mode == "dense" for layer in plan.layers),
    }  # fmt: skip
    with model.session(exact=True) as session, model.session(exact=True) as whole:
        result["rounding"] = error(session.run(image), wanted)
        worst = shares = 0.0
        for frame in range(1, frames):
            image, motion = moved(image, frame)
            got = session.run(image, motion)
            worst = max(worst, error(got, whole.run_whole(image)))
            shares += session.stats.compute_ratio if hasattr(session.stats, "compute_ratio") else 0.0
        result["law_1"] = worst
    return result


def measured_apart(network: Named, given: argparse.Namespace) -> dict[str, Any]:
    """Measures in a process of its own: whatever a network does, the others are measured."""
    command = [
        sys.executable, "-W", "ignore", "-m", "benchmarks.models", "--one", str(network), "--backend", given.backend,
        "--frames", str(given.frames),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=given.timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"network": str(network), "error": f"took more than {given.timeout} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if not lines:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"network": str(network), "error": f"exit code {done.returncode}: {last}"}
    return dict(json.loads(lines[-1].removeprefix(_MARK)))


def one(network: Named, backend: str, frames: int) -> dict[str, Any]:
    """Measures here; an error is a result."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return measure(network, backend, frames)
    except Exception as problem:  # the libraries' networks may raise anything
        where = "" if isinstance(problem, fluxshard.FluxShardError) else f"{type(problem).__name__}: "
        return {"network": str(network), "error": where + " ".join(str(problem).split())[:300]}


def table(results: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| network | size | MMAC | sparse | rounding | law 1 | compile s | largest dense part |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in results:
        if "error" in row:
            lines.append(f"| {row['network']} | | | | | | | {row['error']} |")
            continue
        why = ""
        if row["dense"]:
            name, macs, reason = row["dense"][0]
            why = f"`{name}` ({macs / row['macs']:.1%}): {reason.split(';')[0]}"
        lines.append(
            f"| {row['network']} | {row['size']} | {row['macs'] / 1e6:.0f} | {row['sparse']:.1%} | "
            f"{row['rounding']:.0e} | {row['law_1']:.0e} | {row['compile_s']:.1f} | {why} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures networks that have no result yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("FLUXSHARD_DATA")
    beside = Path(data).parent / "field" / "networks.txt" if data else Path("networks.txt")
    parser.add_argument("--networks", type=Path, default=beside, help="a file with one `library:name [variant]` a line")
    parser.add_argument("--results", type=Path, default=Path("runs/models.jsonl"))
    parser.add_argument("--out", type=Path, help="the table, as Markdown; without it, printed")
    parser.add_argument("--backend", default="cpp", choices=("cpp", "reference"))
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--timeout", type=int, default=900, help="seconds a network")
    parser.add_argument("--only", default="", help="only networks whose name has this text; measured again")
    parser.add_argument("--failed", action="store_true", help="measure those again that have an error")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        network = named(given.one)
        assert network is not None
        print(_MARK + json.dumps(one(network, given.backend, given.frames)))
        return
    networks = [found for line in given.networks.read_text().splitlines() if (found := named(line)) is not None]
    known: dict[str, dict[str, Any]] = {}
    if given.results.exists():
        rows = [json.loads(line) for line in given.results.read_text().splitlines()]
        known = {row["network"]: row for row in rows}
    given.results.parent.mkdir(parents=True, exist_ok=True)
    for network in networks:
        name = str(network)
        again = (given.only and given.only in name) or (given.failed and "error" in known.get(name, {}))
        if (name in known and not again) or (given.only and given.only not in name):
            continue
        known[name] = measured_apart(network, given)
        with given.results.open("a") as file:
            file.write(json.dumps(known[name]) + "\n")
        print(table([known[name]]).splitlines()[-1], file=sys.stderr, flush=True)
    text = table([known[str(network)] for network in networks if str(network) in known])
    if given.out is None:
        print(text)
    else:
        page = given.out.read_text().partition("| network |")[0] if given.out.exists() else "# Networks\n\n"
        given.out.write_text(page + text + "\n")


if __name__ == "__main__":
    main()
