"""Lowers the rewritten graph to a Plan: everything after it is free of fx."""

from __future__ import annotations

import operator
from typing import Any, cast

import torch
from torch import Tensor, fx

from fluxshard.errors import PlanError
from fluxshard.geometry import Grid
from fluxshard.ir.params import Argument, Island, IslandStep, Params, Ref
from fluxshard.ir.plan import LayerSpec, Output, Plan, ValueSpec, WeightSpec
from fluxshard.ir.verify import verify
from fluxshard.ops.reference import ROLES
from fluxshard.passes.capture.trace import Traced
from fluxshard.passes.support.graph_edit import constant, overload
from fluxshard.passes.support.islands import island_of, island_results
from fluxshard.passes.support.macs import aten_macs, layer_macs
from fluxshard.passes.support.meta import info, shape
from fluxshard.passes.support.names import Namer, convolutions_first
from fluxshard.passes.support.output_tree import output_tree
from fluxshard.passes.support.params_of import params_of


def lower(graph_module: fx.GraphModule, traced: Traced) -> tuple[Plan, dict[str, Tensor]]:
    """Lowers a graph of reference calls and islands to a Plan and its weights.

    Given:
        y (1, 16, 40, 40) = reference.conv2d(x, w, act=("relu",), …)    # x (1, 3, 40, 40), w (16, 3, 1, 1)
    Result:
        Plan(values=(x, y), layers=(LayerSpec(name="y", params=Conv2d(act=("relu",)), …),), …), {"w": (16, 3, 1, 1)}

    Args:
      graph_module: the result of `run_passes`.
      traced: the captured model that it was made from: gives name and output structure.

    Returns:
      the verified plan, and its constants by name: contiguous, float32 except for those of islands that are no floats,
      sharing no memory with the model.

    Raises:
      PlanError: the plan breaks a rule of `ir/verify.py`, or the model returns leaves of other types.
    """
    plan, weights = _Lowering(graph_module, traced).run()
    verify(plan)
    return plan, weights


class _Lowering:
    def __init__(self, graph_module: fx.GraphModule, traced: Traced) -> None:
        self.root = graph_module
        self.traced = traced
        self.namer = Namer(graph_module.graph)
        self.names: dict[fx.Node, str] = {}
        self.grids: dict[Grid, int] = {}
        self.values: list[ValueSpec] = []
        self.layers: list[LayerSpec] = []
        self.weights: dict[str, Tensor] = {}
        constants = (constant(traced.graph_module, node) for node in traced.graph_module.graph.nodes)
        self.borrowed = {value.untyped_storage().data_ptr() for value in constants if value is not None}

    def run(self) -> tuple[Plan, dict[str, Tensor]]:
        graph = self.root.graph
        for node in graph.nodes:  # weights first: they keep the names that the model gave them
            if node.op == "get_attr":
                self.names[node] = str(node.target)
                self.namer.free(str(node.target))
        image = ""
        named = {node: self.namer.name(node) for node in convolutions_first(graph)}
        for node in graph.nodes:
            if node.op == "placeholder":
                image = self._value(node, self.namer.free(node.name))
            elif node.op == "call_module":
                self._island(node)
            elif node.op == "call_function" and node.target is not operator.getitem:
                self._layer(node, named[node])
        outputs = tuple(self._output(leaf) for leaf in cast(tuple[Any, ...], graph.output_node().args[0]))
        plan = Plan(
            name=self.traced.name,
            input=image,
            grids=tuple(self.grids),
            values=tuple(self.values),
            layers=tuple(self.layers),
            weights=tuple(
                WeightSpec(name=name, shape=tuple(value.shape), dtype=str(value.dtype).removeprefix("torch."))
                for name, value in self.weights.items()
            ),
            outputs=outputs,
            output_tree=output_tree(self.traced.out_spec),
        )
        return plan, self.weights

    def _value(self, node: fx.Node, name: str) -> str:
        grid = info(node).grid
        index = None if grid is None else self.grids.setdefault(grid, len(self.grids))
        self.values.append(ValueSpec(name=name, shape=shape(node), grid=index))
        self.names[node] = name
        return name

    def _weight(self, node: fx.Node) -> str:
        name = self.names[node]
        if name not in self.weights:
            value = constant(self.root, node)
            assert value is not None, "get_attr nodes read tensors"
            kind = torch.float32 if value.is_floating_point() else value.dtype
            own = value.to(kind).contiguous()
            # the model's own parameters are copied: its training may go on
            self.weights[name] = own.clone() if own.untyped_storage().data_ptr() in self.borrowed else own
        return name

    def _layer(self, node: fx.Node, name: str) -> None:
        params = params_of(node)
        if isinstance(params, str):
            raise PlanError(f"call {node.name} is neither a reference call nor in an island: {params}")
        inputs, weights = self._tensors(node, params)
        found = info(node)
        self._value(node, name)
        self.layers.append(
            LayerSpec(
                name=name,
                params=params,
                inputs=inputs,
                outputs=(name,),
                weights=weights,
                windows=found.windows,
                fields=found.fields,
                mode=found.mode or "sparse",
                macs=layer_macs(node, params),
            )
        )

    def _tensors(self, node: fx.Node, params: Params) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        """Names of the inputs, and of the weights with their roles."""
        n_inputs = len(node.args) if params.op == "cat" else 1 + (params.op == "binary" and len(node.args) > 1)
        inputs, weights = [], []
        given = list(zip(("",) * n_inputs + ROLES.get(params.op, ()), node.args, strict=False))
        if params.op == "binary" and n_inputs == 2:
            given[1] = ("operand", node.args[1])
        given += [(role, source) for role, source in node.kwargs.items() if isinstance(source, fx.Node)]
        for role, source in given:
            if not isinstance(source, fx.Node):
                continue
            if source.op == "get_attr":
                weights.append((role, self._weight(source)))
            else:
                inputs.append(self.names[source])
        return tuple(inputs), tuple(weights)

    def _island(self, node: fx.Node) -> None:
        island = island_of(self.root, node)
        label = self.namer.free(str(node.target))
        local: dict[fx.Node, str] = {}
        inputs, weights, steps = [], [], []
        for inner, source in zip((n for n in island.graph.nodes if n.op == "placeholder"), node.args, strict=True):
            assert isinstance(source, fx.Node)
            if source.op == "get_attr":
                local[inner] = self._weight(source)
                weights.append((local[inner], local[inner]))
            else:
                local[inner] = self.names[source]
                inputs.append(local[inner])
        macs = 0
        for inner in island.graph.nodes:
            if inner.op != "call_function":
                continue
            local[inner] = self.namer.name(inner)
            macs += aten_macs(inner)
            target = overload(inner) or "getitem"
            args = cast(tuple[Argument, ...], _argument(inner.args, local))
            kwargs = tuple((key, _argument(value, local)) for key, value in inner.kwargs.items())
            steps.append(IslandStep(name=local[inner], target=target, args=args, kwargs=kwargs))
        results = island_results(island)
        outer = (
            [node]
            if len(results) == 1
            else sorted((user for user in node.users), key=lambda user: cast(int, user.args[1]))
        )
        for user, result in zip(outer, results, strict=True):
            self._value(user, local[result])
        self.layers.append(
            LayerSpec(
                name=label,
                params=Island(steps=tuple(steps)),
                inputs=tuple(inputs),
                outputs=tuple(local[result] for result in results),
                weights=tuple(weights),
                mode="dense",
                reason=info(node).reason,
                macs=macs,
            )
        )

    def _output(self, leaf: object) -> Output:
        if isinstance(leaf, fx.Node):
            return Output(value=self.names[leaf])
        if leaf is None or isinstance(leaf, (bool, int, float, str)):
            return Output(literal=leaf)
        raise PlanError(
            f"the model returns a {type(leaf).__name__} ({leaf!r}); leaves may be tensors, numbers, strings and None"
        )


def _argument(value: object, local: dict[fx.Node, str]) -> Argument:
    if isinstance(value, fx.Node):
        return Ref(name=local[value])
    if isinstance(value, (tuple, list)):
        return tuple(_argument(item, local) for item in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return str(value)
    raise PlanError(f"an island cannot hold a {type(value).__name__} ({value!r})")
