"""Plans built by hand, layer by layer: what the passes would produce, without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from fluxshard.geometry import Grid
from fluxshard.ir.params import VIEWS, Island, Pair, Params
from fluxshard.ir.plan import LayerSpec, Output, Plan, ValueSpec, WeightSpec
from fluxshard.ir.verify import verify
from fluxshard.ir.windows import windows_of
from fluxshard.ops.interpret import evaluate


class PlanBuilder:
    """Collects layers; shapes come from running each layer once.

    Args:
      shape: `(C, H, W)` of the image.
      seed: of the weights.
    """

    def __init__(self, shape: tuple[int, int, int], seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.weights: dict[str, Tensor] = {}
        self._grids = [Grid(*shape[1:])]
        self._samples = {"x": torch.zeros(1, *shape)}
        self._values = [ValueSpec(name="x", shape=(1, *shape), grid=0)]
        self._layers: list[LayerSpec] = []

    def channels(self, name: str) -> int:
        """Channels of a value."""
        return self._samples[name].shape[1]

    def weight(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        """A random constant."""
        return torch.from_numpy(self.random.uniform(low, high, shape).astype(np.float32))

    def add(self, name: str, params: Params, *inputs: str, **weights: Tensor | None) -> str:
        """Adds a layer; weights are given by role. Returns the name of its result."""
        roles = {role: tensor for role, tensor in weights.items() if tensor is not None}
        names = {role: f"{name}.{role}" for role in roles}
        self.weights |= {names[role]: tensor for role, tensor in roles.items()}
        layer = LayerSpec(
            name=name, params=params, inputs=inputs, outputs=(name,), weights=tuple(names.items()),
            mode="view" if params.op in VIEWS else "sparse",
        )  # fmt: skip
        sample = evaluate(layer, [self._samples[i] for i in inputs], roles)
        size_in, size_out = (cast(Pair, tuple(t.shape[2:])) for t in (self._samples[inputs[0]], sample))
        kernel = cast(Pair, tuple(roles["weight"].shape[2:])) if "weight" in roles else None
        windows = windows_of(params, size_in, size_out, kernel)
        grid = self._grids[self._grid(inputs[0])].through(*windows, *size_out)
        self._record(name, sample, self._index(grid))
        self._layers.append(replace(layer, windows=windows, macs=0 if kernel is None else sample.numel()))
        return name

    def island(
        self, name: str, island: Island, inputs: tuple[str, ...], results: Mapping[str, Tensor], grid_of: str
    ) -> None:
        """Adds an island; `results` samples its outputs: those with the cells of `grid_of` live on its grid."""
        for output, sample in results.items():
            spatial = sample.dim() == 4 and sample.shape[2:] == self._samples[grid_of].shape[2:]
            self._record(output, sample, self._grid(grid_of) if spatial else None)
        self._layers.append(
            LayerSpec(name=name, params=island, inputs=inputs, outputs=tuple(results), mode="dense", reason="a test")
        )

    def plan(self, *outputs: str) -> Plan:
        """The plan, verified."""
        plan = Plan(
            name="Test",
            input="x",
            grids=tuple(self._grids),
            values=tuple(self._values),
            layers=tuple(self._layers),
            weights=tuple(WeightSpec(name=name, shape=tuple(t.shape)) for name, t in self.weights.items()),
            outputs=tuple(Output(value=name) for name in outputs),
            output_tree="",
        )
        verify(plan)
        return plan

    def _grid(self, name: str) -> int:
        (index,) = [value.grid for value in self._values if value.name == name]
        assert index is not None
        return index

    def _index(self, grid: Grid) -> int:
        if grid not in self._grids:
            self._grids.append(grid)
        return self._grids.index(grid)

    def _record(self, name: str, sample: Tensor, grid: int | None) -> None:
        self._samples[name] = sample
        self._values.append(ValueSpec(name=name, shape=tuple(sample.shape), grid=grid))
