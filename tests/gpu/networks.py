"""Whole detectors with seeded weights as checks of a place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

import fluxshard
from benchmarks.frame import forced_work
from fluxshard.ir.params import Island
from fluxshard.ir.plan import Plan
from fluxshard.ops.interpret import evaluate, interpret
from fluxshard.ops.reference import run_island
from fluxshard.options import DType
from fluxshard.runtime.session import Session
from tests.gpu.place import Place

_TORCH = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
OTHER_ORDER = 2e-4  # of sums: what float32 differs by; boxes over the largest, scores as they are
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


def rounded(plan: Plan, weights: Mapping[str, Tensor], image: Tensor, dtype: torch.dtype) -> Tensor:
    """The network in float32 with every value and weight rounded to the stored type: what that type costs at least."""

    def store(value: Tensor) -> Tensor:
        return value.to(dtype).float() if value.is_floating_point() else value

    values = {plan.input: store(image)}
    for layer in plan.layers:
        inputs = [values[name] for name in layer.inputs]
        roles = {role: weights[name] for role, name in layer.weights}
        if isinstance(layer.params, Island):  # in float32, whatever is stored
            results = run_island(layer.params.steps, {**dict(zip(layer.inputs, inputs, strict=True)), **roles})
            for name in layer.outputs:
                result = results[name]
                assert isinstance(result, Tensor)
                values[name] = result if plan.value(name).grid is None else store(result)
            continue
        roles |= {role: store(tensor) for role, tensor in roles.items() if role == "weight"}
        values[layer.output] = store(evaluate(layer, inputs, roles))
    (leaf,) = (leaf.value for leaf in plan.outputs[:1])
    assert leaf is not None
    return values[leaf]


def run(place: Place, plan: Plan, weights: dict[str, Tensor], dtype: DType) -> dict[str, dict[str, float]]:
    """Differences of a plan's frames from the definition in float32, and from frames that recompute everything.

    `rounding` is the difference that storing values in the type makes by itself.
    """
    engine = place.engine(plan, weights, dtype)
    height, width = plan.image_size
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(1, 3, height, width, generator=generator)
    moved = first.clone()
    moved[:, :, : height // 4, : width // 3] = torch.rand(1, 3, height // 4, width // 3, generator=generator)
    expected = [_detections(interpret(plan, weights, image)) for image in (first, moved)]  # on the host, in float32
    expected.append(expected[0])
    images = [image.to(place.torch_device) for image in (first, moved, first)]
    found = {"rounding": compare(rounded(plan, weights, moved, _TORCH[dtype]), expected[1])}
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


def check(found: Mapping[str, Mapping[str, float]], dtype: DType) -> None:
    """Nothing that `run` has found is further from the definition than the stored type and the order of sums explain.

    Halves may differ by twice what rounding each value alone makes: another order of sums rounds other values the other
    way. With sums in float64 instead, the largest differences from the definition are 0.8 to 1.1 times those of
    rounding (YOLO11n at 640, YOLO11m at 1024).
    """
    rounding = found["rounding"]
    limits = {key: OTHER_ORDER + (0 if dtype == "float32" else 2 * rounding[key]) for key in ("boxes", "scores")}
    for what, numbers in found.items():
        # against all work: sparse layers give the same bits, but matrix products of torch need not
        if what.startswith(("definition", "given", "all work")):
            assert all(numbers[key] <= limit for key, limit in limits.items()), (what, numbers, limits)


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
    return out.cpu()
