"""Plans built by hand, one call per layer, without a network and without passes."""

from __future__ import annotations

import torch
from torch import Tensor

from fluxshard.geometry import Grid
from fluxshard.ir import params as P
from fluxshard.ir.plan import LayerSpec, Output, Plan, ValueSpec, WeightSpec
from fluxshard.ir.verify import verify
from fluxshard.ir.windows import windows_of
from fluxshard.ops.interpret import evaluate
from fluxshard.ops.reference import run_island


class PlanBuilder:
    """Collects layers of a plan; shapes follow from the reference ops, weights are random.

    A layer is named by its output; the image is `"image"`.

    Args:
      channels, height, width: of the image.
      seed: of the weights.

    Attributes:
      weights: by name, for the engine that runs the plan.
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
        """Random numbers with mean 0 and variance 1."""
        return torch.randn(shape, generator=self.random)

    def channels(self, name: str) -> int:
        """Channels of a value."""
        return self.zeros[name].shape[1]

    def add(self, params: P.Params, *inputs: str, name: str = "", **roles: Tensor) -> str:
        """Appends a layer of any op but an island.

        Args:
          params: the op and its parameters.
          inputs: names of values, in the order of the params' docstring.
          name: of the layer and its output; by default the op and its place in the plan.
          roles: weights by role.

        Returns:
          the name of the output.
        """
        return self._append(params, inputs, name, roles)

    def conv(
        self, x: str, channels: int, kernel: P.Pair = (1, 1), *extra: str, bias: bool = True, **fields: object
    ) -> str:
        """Appends a convolution whose weights keep the scale of values.

        Args:
          x: name of the input.
          channels: of the output.
          kernel: (height, width).
          extra: name of the residual, if there is one.
          bias: whether it has one.
          fields: of `ir.params.Conv2d`.

        Returns:
          the name of the output.
        """
        params = P.Conv2d(**fields)  # type: ignore[arg-type]
        inputs = self.channels(x) // params.groups
        weight = self.draw(channels, inputs, *kernel) / (inputs * kernel[0] * kernel[1]) ** 0.5
        return self._append(params, (x, *extra), "", {"weight": weight, **self._epilogue(params, channels, bias)})

    def transposed(
        self, x: str, channels: int, kernel: P.Pair, *extra: str, bias: bool = True, **fields: object
    ) -> str:
        """Appends a transposed convolution.

        Args:
          x, channels, kernel, extra, bias: as for `conv`.
          fields: of `ir.params.ConvTranspose2d`.

        Returns:
          the name of the output.
        """
        params = P.ConvTranspose2d(**fields)  # type: ignore[arg-type]
        inputs = self.channels(x)
        weight = self.draw(inputs, channels // params.groups, *kernel) / inputs**0.5
        return self._append(params, (x, *extra), "", {"weight": weight, **self._epilogue(params, channels, bias)})

    def island(self, name: str, target: str, x: str, *args: P.Argument, flat: bool = False) -> str:
        """Appends an island of one op, whose result is on no grid.

        Args:
          name: of the layer and its output.
          target: overload that it calls, as in `ir.params.IslandStep`.
          x: name of the input.
          args: arguments after the input.
          flat: the op gets all cells along one axis, `(1, C, cells)`, as the decoding of a head does.

        Returns:
          the name of the output.
        """
        cells = f"{name}.cells" if flat else x
        flatten = P.IslandStep(name=cells, target="aten.flatten.using_ints", args=(P.Ref(name=x), 2))
        step = P.IslandStep(name=name, target=target, args=(P.Ref(name=cells), *args))
        steps = (flatten, step) if flat else (step,)
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
        """The plan; verified.

        Args:
          outputs: names of the values that it returns; by default the last one.
          name: of the network.

        Raises:
          PlanError: the layers do not make a plan.
        """
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

    def _append(self, params: P.Params, inputs: tuple[str, ...], name: str, roles: dict[str, Tensor]) -> str:
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
        self.layers.append(
            LayerSpec(
                name=name,
                params=params,
                inputs=inputs,
                outputs=(name,),
                weights=weights,
                windows=windows,
                mode="view" if params.op in P.VIEWS else "sparse",
            )
        )
        return name

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
