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
from examples.street.measure import Thresholds, readings, tallies_of
from examples.street.model import load_trained
from examples.street.scene import Scene
from fluxshard import video
from fluxshard.options import Backend

SWEEP_SEED = 9100
LOSS_ALLOWED = 0.005


def sweep(choices: list[Thresholds], frames: int, backend: Backend) -> tuple[Table, Thresholds | None]:
    """Measures every choice; the best does the least work and loses at most LOSS_ALLOWED of mIoU and of F1."""
    scene = Scene(SWEEP_SEED)
    truths = list(scene.frames(frames))
    example = torch.zeros(1, 3, scene.height, scene.width)
    model = fluxshard.compile(load_trained(), example, options=fluxshard.CompileOptions(backend=backend))
    names = {f"{c.pixels:g} {c.early:g} {c.later:g}": c for c in choices}
    sessions = {name: model.session(choice.reuse(model.plan)) for name, choice in names.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "street.mp4"
        encode((truth.picture for truth in truths), path)
        with video.open(path, size=(scene.height, scene.width)) as film:
            runs = readings(film, dense_runner(), sessions)
            whole, parts = tallies_of(zip(truths, (ways for _, ways in runs), strict=True))
    figures = {name: tally.summary() for name, tally in whole.items()}
    dense = figures["dense"]
    fit = [name for name in names if all(figures[name][key] >= dense[key] - LOSS_ALLOWED for key in ("mean_iou", "f1"))]
    best = min(fit, key=lambda name: figures[name]["compute_ratio"], default=None)
    table = Table("thresholds", "mIoU", "F1", "work", *parts, "speed", title="pixels, early, later")
    for name, row in figures.items():
        by_camera = (
            tallies[name].summary()["compute_ratio"] if name in tallies else None for tallies in parts.values()
        )
        table.add_row(
            name, f"{row['mean_iou']:.4f}", f"{row['f1']:.4f}", f"{row['compute_ratio']:.3f}",
            *("-" if ratio is None else f"{ratio:.2f}" for ratio in by_camera), f"{row['dense_over_this']:.2f}",
            style="bold" if name == best else None,
        )  # fmt: skip
    return table, None if best is None else names[best]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pixels", type=float, nargs="+", default=[0.03, 0.05])
    parser.add_argument("--early", type=float, nargs="+", default=[0.1, 0.2])
    parser.add_argument("--later", type=float, nargs="+", default=[0.2, 0.3, 0.4])
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--backend", choices=get_args(Backend), default="auto")
    args = parser.parse_args()
    choices = [Thresholds(*values) for values in itertools.product(args.pixels, args.early, args.later)]
    table, best = sweep(choices, args.frames, args.backend)
    console = Console()
    console.print(table)
    console.print(f"best: {best}" if best else "no choice keeps the accuracy")


if __name__ == "__main__":
    main()
