"""Plans built by hand, one call a layer, without a model and without passes."""

from __future__ import annotations

import torch
from torch import Tensor

from fluxshard.geometry import Grid
from fluxshard.ir import params as P
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import LayerSpec, Output, Plan, ValueSpec, WeightSpec
from fluxshard.ir.verify import verify
from fluxshard.ir.windows import windows_of
from fluxshard.ops.interpret import evaluate
from fluxshard.ops.reference import run_island

# nothing is run for it: it decides widths only
AVX512 = Target(isa="avx512", vector_floats=16, registers=32, compiler="none", compiler_id="none 1", flags=("-O3",))
PORTABLE = Target(isa="portable", vector_floats=4, registers=16, compiler="none", compiler_id="none 1", flags=("-O3",))


class PlanBuilder:
    """Collects layers; sizes follow from the reference ops, weights are random from a seed.

    Args:
      channels, height, width: of the image.
      seed: of the weights.
    """

    def __init__(self, channels: int, height: int, width: int, seed: int = 0) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.zeros: dict[str, Tensor] = {}  # every value, all zero: what shapes are taken from
        self.weights: dict[str, Tensor] = {}
        self.grids: dict[Grid, int] = {}
        self.values: list[ValueSpec] = []
        self.layers: list[LayerSpec] = []
        self._value("image", torch.zeros(1, channels, height, width), Grid(height, width))

    def draw(self, *shape: int) -> Tensor:
        """Normal numbers."""
        return torch.randn(shape, generator=self.random)

    def channels(self, name: str) -> int:
        return self.zeros[name].shape[1]

    def add(self, params: P.Params, *inputs: str, name: str = "", **roles: Tensor) -> str:
        """A layer of any op but an island; returns the name of its output."""
        name = name or f"{params.op}_{len(self.layers)}"
        x = self.zeros[inputs[0]]
        draft = LayerSpec(name=name, params=params, inputs=inputs, outputs=(name,))
        result = evaluate(draft, [self.zeros[i] for i in inputs], roles)
        kernel = (roles["weight"].shape[2], roles["weight"].shape[3]) if "weight" in roles else None
        size = (result.shape[2], result.shape[3])
        windows = windows_of(params, (x.shape[2], x.shape[3]), size, kernel)
        grid = list(self.grids)[self._grid_index(inputs[0])].through(*windows, *size)
        self._value(name, result, grid)
        weights = tuple((role, f"{name}.{role}") for role in roles)
        self.weights.update({f"{name}.{role}": tensor for role, tensor in roles.items()})
        mode = "view" if params.op in P.VIEWS else "sparse"
        self.layers.append(
            LayerSpec(
                name=name, params=params, inputs=inputs, outputs=(name,), weights=weights, windows=windows, mode=mode
            )
        )
        return name

    def conv(
        self, x: str, channels: int, kernel: P.Pair = (1, 1), *extra: str, bias: bool = True, **fields: object
    ) -> str:
        """A convolution with weights that keep the scale of values; a second input is the residual."""
        params = P.Conv2d(**fields)  # type: ignore[arg-type]
        inputs = self.channels(x) // params.groups
        roles = {"weight": self.draw(channels, inputs, *kernel) / (inputs * kernel[0] * kernel[1]) ** 0.5}
        return self.add(params, x, *extra, **roles, **self._epilogue(params, channels, bias))

    def transposed(
        self, x: str, channels: int, kernel: P.Pair, *extra: str, bias: bool = True, **fields: object
    ) -> str:
        """A transposed convolution."""
        params = P.ConvTranspose2d(**fields)  # type: ignore[arg-type]
        inputs = self.channels(x)
        roles = {"weight": self.draw(inputs, channels // params.groups, *kernel) / inputs**0.5}
        return self.add(params, x, *extra, **roles, **self._epilogue(params, channels, bias))

    def island(self, name: str, target: str, x: str, *args: P.Argument) -> str:
        """An island of one step; its result is on no grid."""
        steps = (P.IslandStep(name=name, target=target, args=(P.Ref(name=x), *args)),)
        result = run_island(steps, {x: self.zeros[x]})[name]
        assert isinstance(result, Tensor)
        self._value(name, result, None)
        self.layers.append(
            LayerSpec(
                name=name, params=P.Island(steps=steps), inputs=(x,), outputs=(name,), mode="dense", reason="a test"
            )
        )
        return name

    def finish(self, *outputs: str, name: str = "Hand") -> Plan:
        """The verified plan; returns the last value where no outputs are named."""
        plan = Plan(
            name=name,
            input="image",
            grids=tuple(self.grids),
            values=tuple(self.values),
            layers=tuple(self.layers),
            weights=tuple(WeightSpec(name=key, shape=tuple(tensor.shape)) for key, tensor in self.weights.items()),
            outputs=tuple(Output(value=value) for value in outputs or (self.values[-1].name,)),
            output_tree="",
        )
        verify(plan)
        return plan

    def _epilogue(self, params: P.Conv2d | P.ConvTranspose2d, channels: int, bias: bool) -> dict[str, Tensor]:
        acts = [act[0] for act in (params.act, params.act_after) if act]
        roles = ["bias"] * bias + ["slope"] * ("prelu" in acts)
        return {role: self.draw(channels) for role in roles}

    def _grid_index(self, name: str) -> int:
        index = next(value.grid for value in self.values if value.name == name)
        assert index is not None
        return index

    def _value(self, name: str, zeros: Tensor, grid: Grid | None) -> None:
        index = None if grid is None else self.grids.setdefault(grid, len(self.grids))
        self.values.append(ValueSpec(name=name, shape=tuple(zeros.shape), grid=index))
        self.zeros[name] = zeros.detach() * 0
