"""The street's network in every task that needs no detections: saved models, films of them, and a picture of each.

    python -m examples.street.tasks --out runs/tasks

Writes street.mp4 and, for every task, street-TASK.fluxshard, a directory of `fluxshard run` and a picture of its film.
A model can be run again: `fluxshard run runs/tasks/street.mp4 --model runs/tasks/street-semantic.fluxshard --out DIR`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import torch
from PIL import Image
from torch import Tensor, nn

import fluxshard
from examples.street.film import encode
from examples.street.model import load_trained
from examples.street.scene import CLASSES, Scene
from fluxshard.cli import main as fluxshard_command
from fluxshard.models.loading.loaded_model import MAP_TASKS, LoadedModel, Task

FRAMES, SHOWN = 40, 32
BACKENDS = ("auto", "cpp", "reference")


class Output(nn.Module):
    """StreetNet with the output that a task reads.

    "semantic": scores of the classes for every place; "classify": their means over the picture; "depth": how much
    every place looks like the centre of a car, one value for each; "raw": everything, as it is.
    """

    def __init__(self, net: nn.Module, task: Task) -> None:
        super().__init__()
        self.net, self.task = net, task

    def forward(self, image: Tensor) -> Any:
        """Runs the network on an image `(1, 3, H, W)` in 0..1."""
        outputs = self.net(image)
        if self.task == "semantic":
            return outputs["classes"]
        if self.task == "classify":
            return outputs["classes"].mean((2, 3))
        if self.task == "depth":
            return outputs["centres"][:, :1]
        return outputs


def save(task: Task, path: Path, size: tuple[int, int], backend: str) -> None:
    """Compiles the network for a task, and saves it."""
    net = Output(load_trained(), task).eval().requires_grad_(False)
    options = fluxshard.CompileOptions(backend=backend)  # type: ignore[arg-type]
    model = fluxshard.compile(net, torch.zeros(1, 3, *size), options=options)
    names = CLASSES if task in ("semantic", "classify") else ()
    model.save(path, loaded=LoadedModel(net, task, names=names, stride_px=16), overwrite=True)


def frame_of(film: Path, index: int) -> Image.Image:
    """A picture of a film."""
    with av.open(str(film)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == index:
                return Image.fromarray(frame.to_ndarray(format="rgb24"))
    raise ValueError(f"{film} has no frame {index}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the street, and runs every task over it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    scene, film = Scene(), given.out / "street.mp4"
    encode((frame.picture for frame in scene.frames(given.frames)), film)
    for task in MAP_TASKS:
        model, run = given.out / f"street-{task}.fluxshard", given.out / task
        save(task, model, (scene.height, scene.width), given.backend)
        flags = ("--show-reuse", "--compare", "dense", "--overwrite", "--backend", given.backend)
        try:
            fluxshard_command(["run", str(film), "--model", str(model), "--out", str(run), *flags])
        except SystemExit as ended:
            if ended.code:
                raise
        picture = given.out / f"{task}.jpg"
        frame_of(run / "annotated.mp4", min(SHOWN, given.frames - 1)).save(picture, quality=90)
        print(f"wrote {picture}")


if __name__ == "__main__":
    main()
