"""Whole detectors with seeded weights as checks of a place."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import fluxshard
from benchmarks.frame import forced_work
from fluxshard.ir.plan import Plan
from fluxshard.ops.interpret import interpret
from fluxshard.options import DType
from fluxshard.runtime.session import Session
from tests.gpu.place import Place

EXACT = fluxshard.ReuseOptions(rfap="per_layer", input="fresh", scene_cut=1.0)


def compare(found: Tensor, expected: Tensor) -> dict[str, float]:
    """How far a detector's `(1, 4 + classes, boxes)` are apart: boxes in pixels over the largest, scores as they are.

    Quantiles over boxes of the largest difference within each.
    """
    scale = float(expected[:, :4].abs().max())
    boxes = (found[:, :4] - expected[:, :4]).abs().amax(1).flatten().float() / scale
    scores = (found[:, 4:] - expected[:, 4:]).abs().amax(1).flatten().float()
    return {
        "boxes": float(boxes.max()), "boxes_99": float(boxes.quantile(0.99)),
        "scores": float(scores.max()), "scores_99": float(scores.quantile(0.99)),
    }  # fmt: skip


def run(place: Place, plan: Plan, weights: dict[str, Tensor], dtype: DType) -> dict[str, dict[str, float]]:
    """Differences of a plan's frames from the definition in float32, and from frames that recompute everything."""
    engine = place.engine(plan, weights, dtype)
    height, width = plan.image_size
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(1, 3, height, width, generator=generator)
    moved = first.clone()
    moved[:, :, : height // 4, : width // 3] = torch.rand(1, 3, height // 4, width // 3, generator=generator)
    on_device = {name: tensor.to(place.torch_device) for name, tensor in weights.items()}
    images = [image.to(place.torch_device) for image in (first, moved, first)]
    expected = [_detections(interpret(plan, on_device, image)) for image in images]
    found: dict[str, dict[str, float]] = {}
    with place.session(engine, EXACT) as session, place.session(engine, EXACT) as whole:
        for index, image in enumerate(images):
            incremental = _detections(session.run(image))
            whole.reset()
            dense = _detections(whole.run(image))
            found[f"definition {index}"] = compare(dense, expected[index])
            found[f"all work {index}"] = compare(incremental, dense)
            found[f"ratio {index}"] = {"compute_ratio": session.stats.compute_ratio}
    found["images"] = compare(expected[1], expected[0])
    found |= _planned(place.session(engine, EXACT), plan, images, expected[1])
    return found


def _planned(session: Session, plan: Plan, images: list[Tensor], expected: Tensor) -> dict[str, dict[str, float]]:
    """Given work: all of it is the dense frame, parts of it again change nothing."""
    found = {}
    with session:
        session.run(images[0])
        for share in (1.0, 0.25, 0.05, 0.0):
            out = _detections(session.run_with_work(images[1], None, forced_work(plan.grids, share)))
            found[f"given {share}"] = compare(out, expected)
            masks = forced_work(plan.grids, share).values()
            cells = float(np.concatenate([mask.ravel() for mask in masks]).mean())
            found[f"ratio of {share}"] = {"compute_ratio": session.stats.compute_ratio, "cells": cells}
    return found


def _detections(leaves: object) -> Tensor:
    assert isinstance(leaves, list)
    (out,) = (leaf for leaf in leaves if isinstance(leaf, Tensor))
    return out
