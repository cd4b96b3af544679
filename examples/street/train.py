"""Trains StreetNet on streets of other seeds than the demo's: `python -m examples.street.train`.

Crops, noise and first weights come from `--seed`; the streets from TRAIN_SEEDS.
"""

from __future__ import annotations

import argparse
import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from examples.street.metrics import LEAST_VISIBLE_PX, LEAST_VISIBLE_SHARE, Score
from examples.street.model import (
    BOX_UNIT_PX,
    STRIDE_PX,
    WEIGHTS,
    StreetNet,
    class_map,
    detections,
    load_trained,
    save_weights,
    to_image,
)
from examples.street.scene import OBJECT_CLASSES, Leg, Scene, SceneFrame

TRAIN_SEEDS = range(1000, 1120)
HELD_OUT_SEEDS = range(9000, 9008)
CROP_PX = 256
_FRAMES_PER_SCENE = 8
# small and rare things weigh more
_CLASS_WEIGHTS = (0.7, 0.8, 1.5, 0.8, 1.0, 1.2, 2.5)


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch should give.

    Attributes:
      classes: `(N, H, W)`.
      heat, heat_weight: `(N, 2, H / 4, W / 4)`.
      boxes, box_weight: `(N, 4, H / 4, W / 4)` and `(N, 1, H / 4, W / 4)`.
    """

    classes: Tensor
    heat: Tensor
    heat_weight: Tensor
    boxes: Tensor
    box_weight: Tensor


def scene_frames(seed: int, count: int) -> list[SceneFrame]:
    """Frames of one street, far apart: another stretch of it, other traffic."""
    rng = np.random.default_rng((seed, 11))
    way = (Leg(0.0, 60.0, drive_m=float(rng.uniform(30, 60)), pan_px=float(rng.uniform(-80, 80))),)
    scene = Scene(seed, way=way, noise=float(rng.uniform(0.0, 2.5)))
    return [scene.render(int(index)) for index in rng.choice(60 * 25, count, replace=False)]


def crop(
    frame: SceneFrame, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]], NDArray[np.uint8]]:
    """A random piece of a frame: picture, its detector targets (heat, weight, boxes, weight) and class map."""
    height, width = frame.class_map.shape
    y, x = int(rng.integers(0, height - CROP_PX + 1)), int(rng.integers(0, width - CROP_PX + 1))
    part = slice(y, y + CROP_PX), slice(x, x + CROP_PX)
    picture, classes, identities = frame.picture[part], frame.class_map[part], frame.identities[part]
    if rng.random() < 0.5:
        picture, classes, identities = picture[:, ::-1], classes[:, ::-1], identities[:, ::-1]
    return _spoiled(picture, rng), _detector_targets(frame, identities), classes


def _spoiled(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Other light, noise, and the blocks of a lossy encoder."""
    values = picture.astype(np.float32) * (rng.uniform(0.75, 1.25) * rng.uniform(0.95, 1.05, 3)).astype(np.float32)
    values += np.float32(rng.uniform(-12, 12))
    if rng.random() < 0.5:
        values += rng.standard_normal(values.shape, np.float32) * np.float32(rng.uniform(0, 4))
    result = np.clip(values, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        buffer = io.BytesIO()
        Image.fromarray(result).save(buffer, "JPEG", quality=int(rng.integers(45, 96)))
        result = np.array(Image.open(buffer))
    return result


def _detector_targets(frame: SceneFrame, identities: NDArray[np.int16]) -> list[NDArray[np.float32]]:
    cells = CROP_PX // STRIDE_PX
    heat = np.zeros((len(OBJECT_CLASSES), cells, cells), np.float32)
    heat_weight = np.ones_like(heat)
    boxes = np.zeros((4, cells, cells), np.float32)
    box_weight = np.zeros((1, cells, cells), np.float32)
    centres = (np.arange(cells) + 0.5) * STRIDE_PX
    for thing in frame.objects:
        mask = identities == thing.identity
        visible = int(np.count_nonzero(mask))
        if not visible:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        y0, x0, y1, x1 = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        kind = OBJECT_CLASSES.index(thing.label)
        share = visible * thing.visible_share / thing.visible_px
        if visible < LEAST_VISIBLE_PX or share < LEAST_VISIBLE_SHARE:
            heat_weight[kind, y0 // STRIDE_PX : y1 // STRIDE_PX + 1, x0 // STRIDE_PX : x1 // STRIDE_PX + 1] = 0
            continue
        cy, cx = min(int((y0 + y1) / 2 / STRIDE_PX), cells - 1), min(int((x0 + x1) / 2 / STRIDE_PX), cells - 1)
        reach = np.maximum(np.array([y1 - y0, x1 - x0]) / STRIDE_PX * 0.11, 0.75)
        bump = np.exp(
            -0.5 * (((np.arange(cells) - cy) / reach[0]) ** 2)[:, None]
            - 0.5 * (((np.arange(cells) - cx) / reach[1]) ** 2)[None]
        ).astype(np.float32)
        heat[kind] = np.maximum(heat[kind], bump)
        wins = (bump > 0.4) & (bump > box_weight[0])
        sides = np.stack(
            np.broadcast_arrays(
                (centres - y0)[:, None], (centres - x0)[None], (y1 - centres)[:, None], (x1 - centres)[None]
            )
        )
        boxes[:, wins] = sides[:, wins] / BOX_UNIT_PX
        box_weight[0, wins] = bump[wins]
    return [heat, heat_weight, boxes, box_weight]


def batch_of(frames: list[SceneFrame], size: int, rng: np.random.Generator) -> tuple[Tensor, Targets]:
    """A random batch `(N, 3, CROP_PX, CROP_PX)` and its targets."""
    samples = [crop(frames[k], rng) for k in rng.integers(0, len(frames), size)]
    images = torch.cat([to_image(picture) for picture, _, _ in samples])
    maps = [torch.from_numpy(np.stack(column)) for column in zip(*(targets for _, targets, _ in samples), strict=True)]
    classes = torch.from_numpy(np.stack([classes for _, _, classes in samples]).astype(np.int64))
    return images.contiguous(memory_format=torch.channels_last), Targets(classes, *maps)


def losses(outputs: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
    """Cross-entropy of the classes, penalty-reduced focal loss of the centres, L1 and IoU loss of the boxes."""
    logits = F.interpolate(outputs["classes"], scale_factor=float(STRIDE_PX), mode="bilinear", align_corners=False)
    classes = F.cross_entropy(logits, targets.classes, torch.tensor(_CLASS_WEIGHTS))
    centres = outputs["centres"]
    probability = centres.sigmoid()
    positive = (targets.heat == 1.0).float()
    count = positive.sum().clamp(min=1.0)
    hit = F.logsigmoid(centres) * (1 - probability) ** 2 * positive
    miss = F.logsigmoid(-centres) * probability**2 * (1 - targets.heat) ** 4 * (1 - positive) * targets.heat_weight
    weight = targets.box_weight
    found, true = outputs["boxes"], targets.boxes
    far = (F.smooth_l1_loss(found, true, reduction="none", beta=0.1) * weight).sum() / weight.sum().clamp(min=1.0)
    sides = found.clamp(min=0.01)
    joint = (torch.minimum(sides[:, 0], true[:, 0]) + torch.minimum(sides[:, 2], true[:, 2])) * (
        torch.minimum(sides[:, 1], true[:, 1]) + torch.minimum(sides[:, 3], true[:, 3])
    )
    areas = (sides[:, 0] + sides[:, 2]) * (sides[:, 1] + sides[:, 3]) + (true[:, 0] + true[:, 2]) * (
        true[:, 1] + true[:, 3]
    )
    iou = joint.clamp(min=0) / (areas - joint).clamp(min=1e-4)
    overlap = ((1 - iou) * weight[:, 0]).sum() / weight.sum().clamp(min=1.0)
    return {"classes": classes, "centres": -(hit + miss).sum() / count, "boxes": far + overlap}


def evaluate(net: StreetNet, seeds: range, frames_per_scene: int = 5) -> Score:
    """Accuracy on whole frames of these streets."""
    score = Score()
    with torch.inference_mode():
        for seed in seeds:
            for frame in scene_frames(seed, frames_per_scene):
                outputs = net(to_image(frame.picture))
                score.add(frame.class_map, class_map(outputs), frame.objects, detections(outputs))
    return score


def train(steps: int, batch: int, seed: int, threads: int, bfloat16: bool, out: Path) -> None:
    """Trains and writes the weights; prints the losses as it goes and the accuracy at the end."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 13))
    began = time.perf_counter()
    frames = [frame for scene in TRAIN_SEEDS for frame in scene_frames(scene, _FRAMES_PER_SCENE)]
    print(
        f"{len(frames)} frames of {len(TRAIN_SEEDS)} streets rendered in {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    net = StreetNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.nn.init.constant_(net.centres[1].bias, -3.0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    running: dict[str, float] = {}
    began = time.perf_counter()
    for step in range(1, steps + 1):
        images, targets = batch_of(frames, batch, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = net(images)
        parts = losses({name: output.float() for name, output in outputs.items()}, targets)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        for name, value in parts.items():
            running[name] = 0.97 * running.get(name, float(value.detach())) + 0.03 * float(value.detach())
        if step % 50 == 0 or step == steps:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in running.items())
            print(
                f"step {step}/{steps}  {shown}  total {sum(running.values()):.4f}  {time.perf_counter() - began:.0f} s",
                flush=True,
            )
    save_weights(net, out)
    score = evaluate(load_trained(out), HELD_OUT_SEEDS)
    print(f"held-out streets: mIoU {score.mean_iou:.4f}  F1 {score.f1:.4f}  "
          f"({', '.join(f'{k} {v:.3f}' for k, v in score.class_iou.items())})  wrote {out}")  # fmt: skip


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true", help="faster where the processor has it")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    train(args.steps, args.batch, args.seed, args.threads, args.bfloat16, args.out)


if __name__ == "__main__":
    main()
