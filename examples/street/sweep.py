"""Chooses the demo's thresholds on a street that the demo does not show: `python -m examples.street.sweep`."""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console
from rich.table import Table

import fluxshard
from examples.street.demo import dense_runner
from examples.street.film import encode
from examples.street.measure import readings, tallies_of
from examples.street.model import load_trained
from examples.street.scene import Scene
from fluxshard import video
from fluxshard.options import Backend, ReuseOptions

SWEEP_SEED = 9100


def sweep(inputs: list[float], features: list[float], frames: int, rfap: str, backend: Backend) -> Table:
    """Measures every pair of thresholds; latencies share one run and are comparable."""
    scene = Scene(SWEEP_SEED)
    truths = list(scene.frames(frames))
    model = fluxshard.compile(
        load_trained(),
        torch.zeros(1, 3, scene.height, scene.width),
        options=fluxshard.CompileOptions(backend=backend),
    )
    sessions = {
        f"{tau_input:g}/{tau:g}": model.session(ReuseOptions(tau_input=tau_input, tau=tau, rfap=rfap))  # type: ignore[arg-type]
        for tau_input, tau in itertools.product(inputs, features)
    }
    table = Table(
        "τ input/τ", "mIoU", "F1", "compute", "still", "drive", "pan", "ms", "dense/this", title=f"rfap={rfap}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "street.mp4"
        encode((truth.picture for truth in truths), path)
        with video.open(path, size=(scene.height, scene.width)) as film:
            runs = readings(film, dense_runner(), sessions)
            whole, parts = tallies_of(zip(truths, (ways for _, ways in runs), strict=True))
    for name, tally in whole.items():
        figures = tally.summary()
        by_camera = [f"{part[name].summary()['compute_ratio'] or 0:.2f}" for part in parts.values() if name in part]
        table.add_row(
            name, f"{figures['mean_iou']:.4f}", f"{figures['f1']:.4f}", f"{figures['compute_ratio']:.3f}", *by_camera,
            f"{figures['median_ms']:.1f}", f"{figures['dense_over_this']:.2f}",
        )  # fmt: skip
    return table


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tau-input", type=float, nargs="+", default=[0.02, 0.04, 0.06])
    parser.add_argument("--tau", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2])
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--rfap", choices=("compact", "per_layer", "off"), default="compact")
    parser.add_argument("--backend", choices=get_args(Backend), default="auto")
    args = parser.parse_args()
    Console().print(sweep(args.tau_input, args.tau, args.frames, args.rfap, args.backend))


if __name__ == "__main__":
    main()
