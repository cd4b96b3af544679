"""Checks every layer of a frame against its definition in torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import fluxshard
from fluxshard.geometry import Grid
from fluxshard.ir.plan import Plan
from fluxshard.ops.interpret import evaluate
from fluxshard.runtime.engines.engine import Engine, Inspection, Mask
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing.plan_builder import PlanBuilder
from tests.layers.cases import GROUPS, HEIGHT, MASKS, WIDTH, images

REUSE = fluxshard.ReuseOptions(rfap="off", input="fresh", scene_cut=1.0)


def mask_of(kind: str, grid: Grid, rng: np.random.Generator) -> Mask:
    mask = np.zeros((grid.height, grid.width), np.bool_)
    if kind == "full":
        mask[:] = True
    elif kind == "single":
        mask[rng.integers(grid.height), rng.integers(grid.width)] = True
    elif kind == "corner":
        mask[-1, -1] = True
    elif kind == "borders":
        mask[[0, -1]] = mask[:, [0, -1]] = True
    elif kind == "random":
        mask[:] = rng.random(mask.shape) < 0.3
    return mask


def close(got: Tensor, expected: Tensor, on: Tensor, elementwise: bool, tolerance: float) -> bool:
    """Whether cells are within a tolerance of the range of the whole tensor that is expected, or of each number."""
    finite = expected[expected.isfinite()].abs()
    atol = tolerance if elementwise else tolerance * max(1e-3, float(finite.max()) if finite.numel() else 0)
    rtol = tolerance if elementwise else 0
    return torch.allclose(got[:, :, on], expected[:, :, on], rtol=rtol, atol=atol, equal_nan=True)


class Checked:
    """A hand-built plan in a session, each frame checked layer by layer.

    Layers are checked one by one: on a frame with a given mask, a layer's value must be its definition, applied to the
    values that the program itself left for its inputs, on the cells of the mask, and the cached value everywhere else.
    Every frame has another image, so a cell that is recomputed or kept where it must not be shows.

    Args:
      builder: the plan.
      make_engine: from a plan and weights.
      elementwise: numbers are compared one by one, not against the range of the tensor.
      tolerance: of the stored type.
    """

    def __init__(
        self, builder: PlanBuilder, make_engine: Callable[[Plan, dict[str, Tensor]], Engine], elementwise: bool,
        tolerance: float = 1e-5,
    ) -> None:  # fmt: skip
        self.plan, self.weights, self.elementwise = builder.finish(*outputs_of(builder)), builder.weights, elementwise
        self.tolerance = tolerance
        engine = make_engine(self.plan, self.weights)
        self.session = Session(lambda _: Program(engine, lambda leaves: leaves), REUSE)
        self.cached: dict[str, Tensor] = {}

    def frame(self, image: Tensor, work: dict[int, Mask]) -> list[str]:
        """Runs a frame; returns what is wrong with it, by layer."""
        leaves = self.session.run_with_work(image, None, work)
        seen = self.session.inspect()
        values = _values(self.plan, seen, image, leaves, self.weights)
        wrong = []
        for layer in self.plan.layers:
            if layer.mode == "dense":
                continue
            value = self.plan.value(layer.output)
            if layer.mode == "sparse":
                assert value.grid is not None
                got, mask = (
                    values[layer.output],
                    work[value.grid] if self.cached else np.ones(value.shape[2:], np.bool_),
                )
                roles = {role: self.weights[name] for role, name in layer.weights}
                fresh = evaluate(layer, [values[name] for name in layer.inputs], roles)
                on = torch.from_numpy(mask)
                if self.elementwise:  # what torch makes of infinity differs between its own kernels: inf, -inf or NaN
                    limit = image.isinf() & fresh.isnan() & ~got.isfinite()
                    fresh = torch.where(limit, got, fresh)
                if not close(got, fresh, on, self.elementwise, self.tolerance):
                    far = (got - fresh)[:, :, on].abs().nan_to_num(float("inf")).max()
                    wrong.append(f"{layer.name}{layer.params}: {far:.3g} from its definition")
                if self.cached and not _same_bits(got[:, :, ~on], self.cached[layer.output][:, :, ~on]):
                    wrong.append(f"{layer.name}{layer.params}: cells outside the mask changed")
                if (seen.mask(layer.output) != mask).any() or (seen.candidates(layer.name) != mask).any():
                    wrong.append(f"{layer.name}: its mask is not the mask that was given")
            index = next((i for i, leaf in enumerate(self.plan.outputs) if leaf.value == layer.output), None)
            if index is not None and not _same_bits(leaves[index], values[layer.output]):
                wrong.append(f"{layer.name}: the output is not the value")
        self.cached = values
        return wrong


def outputs_of(builder: PlanBuilder) -> list[str]:
    """Views and values off the grids, which are not to be seen otherwise, and the last value."""
    hidden = [n for layer in builder.layers if layer.mode != "sparse" for n in layer.outputs]
    return [*hidden, *([] if builder.values[-1].name in hidden else [builder.values[-1].name])]


def _values(
    plan: Plan, seen: Inspection, image: Tensor, leaves: list[Tensor], weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    """What each layer of the program read and left."""
    values = {plan.input: image}
    returned = {leaf.value: tensor for leaf, tensor in zip(plan.outputs, leaves, strict=True)}
    for layer in plan.layers:
        if layer.mode == "view":
            values[layer.output] = evaluate(layer, [values[name] for name in layer.inputs], {})
        for name in layer.outputs if layer.mode != "view" else ():
            stored = seen.value(name)
            values[name] = returned[name] if stored is None else stored
    return values


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return bool((a.contiguous().view(torch.int32) == b.contiguous().view(torch.int32)).all())


def check_group(group: str, make_engine: Callable[[Plan, dict[str, Tensor]], Engine], tolerance: float = 1e-5) -> None:
    """Runs a group of layers over masks of all kinds."""
    channels = 17 if group == "activations" else 5
    builder = PlanBuilder(channels, HEIGHT, WIDTH)
    GROUPS[group](builder)
    checked = Checked(builder, make_engine, group == "activations", tolerance)
    rng = np.random.default_rng(3)
    made = images(group, channels)
    for kind in ("first", *MASKS):
        work = {i: mask_of(kind, grid, rng) for i, grid in enumerate(checked.plan.grids)}
        wrong = checked.frame(next(made), work)
        assert not wrong, f"mask {kind}:\n" + "\n".join(wrong)
        if kind == "empty":
            sparse = [layer for layer in checked.plan.layers if layer.mode == "sparse"]
            assert sparse and not any(checked.session.inspect().candidates(layer.name).any() for layer in sparse)
