"""The demo: draws a street, films it, and runs a small network over it incrementally: `python -m examples.street.demo`.

Needs no download. Writes to `--out`: street.mp4, annotated.mp4, reuse.png and summary.json. With `--yolo WEIGHTS` (or
FLUXSHARD_YOLO) it hands over to `fluxshard run`, on `--video` or on the drawn street.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import fluxshard
from examples.street import pictures
from examples.street.film import encode
from examples.street.measure import Reading, Tally, Thresholds, readings, tallies_of
from examples.street.model import load_trained
from examples.street.scene import FPS, Scene, SceneFrame
from fluxshard import video
from fluxshard.cli import main as fluxshard_command
from fluxshard.errors import FluxShardError
from fluxshard.options import Backend, ReuseOptions

FRAMES, REFERENCE_FRAMES = 120, 40
EXACT = ReuseOptions(rfap="per_layer")
# chosen on another street by `python -m examples.street.sweep`
THRESHOLDS = Thresholds(pixels=0.05, early=0.1, later=0.3)
WAYS = {"dense": "dense", "exact": "exact", "reuse": "thresholds"}


def run(
    out: Path, frames: int | None = None, backend: Backend = "auto", console: Console | None = None
) -> dict[str, Any]:
    """Runs the demo and writes its files.

    Args:
      out: directory; made if need be, results of an earlier demo in it are replaced.
      frames: length of the film; None takes FRAMES, or REFERENCE_FRAMES where there is no C++ compiler.
      backend: see `CompileOptions`.
      console: where the tables go.

    Returns:
      what summary.json holds.
    """
    console = console or Console()
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    scene = Scene()
    net = load_trained()
    with console.status("compiling the network"):
        model = fluxshard.compile(
            net, torch.zeros(1, 3, scene.height, scene.width), options=fluxshard.CompileOptions(backend=backend)
        )
    compiled_s = time.perf_counter() - began
    if frames is None:
        frames = FRAMES if model.backend != "reference" else REFERENCE_FRAMES
    truths = list(track(scene.frames(frames), "drawing the street", total=frames, console=console, transient=True))
    film_bytes = encode((truth.picture for truth in truths), out / "street.mp4")
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(model.session(reuse))
            for name, reuse in (("exact", EXACT), ("reuse", THRESHOLDS.reuse(model.plan)))
        }
        film = stack.enter_context(video.open(out / "street.mp4", size=(scene.height, scene.width)))
        runs = readings(film, dense_runner(), sessions)
        shown = _Showing(stack, out, sessions["reuse"], scene)
        watched = track(shown.watch(truths, runs), "running", total=frames, console=console, transient=True)
        whole, parts = tallies_of(watched)
        shown.write_picture()
        cache_bytes = sessions["reuse"].state_bytes
    summary = {
        "machine": {
            "cpu": platform.machine(), "cores": os.cpu_count(), "torch_threads": torch.get_num_threads(),
            "python": platform.python_version(), "torch": torch.__version__, "fluxshard": fluxshard.__version__,
        },
        "backend": model.backend,
        "network": {
            "parameters": sum(p.numel() for p in net.parameters()), "macs": model.plan.macs, "cache_bytes": cache_bytes,
        },
        "film": {"frames": frames, "fps": FPS, "height": scene.height, "width": scene.width, "bytes": film_bytes},
        "thresholds": asdict(THRESHOLDS),
        "whole": {name: tally.summary() for name, tally in whole.items()},
        "by_camera": {
            camera: {name: tally.summary() for name, tally in ways.items()} for camera, ways in parts.items() if ways
        },
        "compile_s": compiled_s,
        "total_s": time.perf_counter() - began,
    }  # fmt: skip
    (out / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _print(console, summary, whole, out)
    return summary


def dense_runner() -> Callable[[Tensor], Any]:
    """The yardstick: the original network in torch, channels last, under inference mode."""
    module = load_trained().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run_dense(image: Tensor) -> Any:
        with torch.inference_mode():
            return module(image.contiguous(memory_format=torch.channels_last))

    return run_dense


class _Showing:
    """Writes annotated.mp4 as the frames come, and keeps a few of them for reuse.png."""

    def __init__(self, stack: ExitStack, out: Path, session: fluxshard.Session, scene: Scene) -> None:
        self._session, self._out = session, out
        self._film = stack.enter_context(
            video.VideoWriter(
                out / "annotated.mp4", (scene.height + pictures.CAPTION_PX, 2 * scene.width + pictures.GAP_PX), FPS
            )
        )
        self._rows: list[pictures.Picture] = []

    def watch(
        self, truths: Sequence[SceneFrame], runs: Iterator[tuple[video.Frame, dict[str, Reading]]]
    ) -> Iterator[tuple[SceneFrame, dict[str, Reading]]]:
        """Passes frames on."""
        kept = _telling(truths)
        for truth, (frame, ways) in zip(truths, runs, strict=True):
            reading = ways["reuse"]
            guess = pictures.prediction(frame.picture, reading.classes, reading.found)
            tinted = pictures.recomputed(frame.picture, self._session.work_map())
            text = (
                f"frame {truth.index}, camera: {truth.camera}   compute {reading.compute_ratio:.0%} of dense   "
                f"pixels {reading.recompute_ratio:.0%}   {reading.latency_ms:.1f} ms "
                f"(dense {ways['dense'].latency_ms:.1f} ms)"
            )
            self._film.write(pictures.captioned(pictures.side_by_side([guess, tinted]), text))
            if truth.index in kept:
                self._rows.append(pictures.captioned(pictures.side_by_side([frame.picture, guess, tinted]), text))
            yield truth, ways

    def write_picture(self) -> None:
        """Writes reuse.png: input, prediction, and what was recomputed."""
        Image.fromarray(pictures.stacked(self._rows)).save(self._out / "reuse.png")


def _telling(truths: Sequence[SceneFrame]) -> set[int]:
    """A frame from the middle of each thing that the camera does."""
    kept: set[int] = set()
    start = 0
    for index in range(1, len(truths) + 1):
        if index == len(truths) or truths[index].camera != truths[start].camera:
            kept.add(truths[(start + index) // 2].index)
            start = index
    return kept


def _print(console: Console, summary: dict[str, Any], whole: dict[str, Tally], out: Path) -> None:
    ways = summary["whole"]
    table = Table(
        "", *(WAYS[name] for name in ways), title="a drawn street: dense, and incremental at zero and other thresholds"
    )
    rows: tuple[tuple[str, str, str], ...] = (
        ("mIoU (truth)", "mean_iou", ".4f"),
        ("detection F1 (truth)", "f1", ".4f"),
        ("pixels labelled as by dense", "pixels_as_dense", ".2%"),
        ("detection F1 (dense as truth)", "f1_against_dense", ".4f"),
        ("largest raw difference", "largest_difference", ".2g"),
        ("median latency, ms", "median_ms", ".2f"),
        ("speed against dense", "dense_over_this", ".2f"),
        ("multiplications", "compute_ratio", ".1%"),
        ("input pixels recomputed", "recompute_ratio", ".1%"),
        ("frames run whole", "keyframes", "d"),
    )
    for label, key, form in rows:
        table.add_row(
            label, *("-" if figures[key] is None else format(figures[key], form) for figures in ways.values())
        )
    console.print(table)
    by_camera = Table(
        "camera",
        "frames",
        "multiplications",
        "speed",
        "mIoU",
        "dense mIoU",
        title="thresholds, by what the camera does",
        title_justify="left",
    )
    for camera, figures in summary["by_camera"].items():
        reuse, dense = figures["reuse"], figures["dense"]
        if reuse["median_ms"] is not None:
            by_camera.add_row(
                camera, str(reuse["frames"]), f"{reuse['compute_ratio']:.1%}", f"{reuse['dense_over_this']:.2f}x",
                f"{reuse['mean_iou']:.4f}", f"{dense['mean_iou']:.4f}",
            )  # fmt: skip
    console.print(by_camera)
    network, tau = summary["network"], summary["thresholds"]
    console.print(
        f"backend {summary['backend']}, {summary['machine']['torch_threads']} threads, cache "
        f"{network['cache_bytes'] / 2**20:.1f} MiB; thresholds: pixels {tau['pixels']:g}, early features "
        f"{tau['early']:g}, later {tau['later']:g}; {summary['total_s']:.0f} s in all\n"
        f"wrote {out}/: street.mp4 annotated.mp4 reuse.png summary.json",
        highlight=False,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--frames", type=int, help=f"length of the film (default {FRAMES})")
    parser.add_argument("--backend", choices=get_args(Backend), default="auto")
    parser.add_argument(
        "--yolo", default=os.environ.get("FLUXSHARD_YOLO"), metavar="WEIGHTS", help="use this YOLO model"
    )
    parser.add_argument("--video", help="with --yolo: a film, a directory of pictures, a camera or a stream")
    args = parser.parse_args(arguments)
    if args.frames is not None and args.frames < 2:
        parser.error(f"--frames (={args.frames}) must be at least 2")
    if args.video and not args.yolo:
        parser.error("--video needs --yolo WEIGHTS: the small network only knows the drawn street")
    try:
        if args.yolo:
            _yolo(args)
        else:
            run(args.out, args.frames, args.backend)
    except (FluxShardError, OSError) as error:
        sys.exit(f"demo: error: {' '.join(str(error).split())}")


def _yolo(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    film = args.video
    if film is None:
        film = args.out / "street.mp4"
        encode((truth.picture for truth in Scene(height=640, width=1024).frames(args.frames or FRAMES)), film)
    limit = [] if args.frames is None else ["--max-frames", str(args.frames)]
    fluxshard_command(
        ["run", str(film), "--model", args.yolo, "--out", str(args.out), "--compare", "dense", "--show-reuse",
         "--backend", args.backend, "--overwrite", *limit]
    )  # fmt: skip


if __name__ == "__main__":
    main()
