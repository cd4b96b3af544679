"""Rewrites in-place ops as functional ones, including writes through views.

Several times faster than `ExportedProgram.run_decompositions`, which traces the whole model again, and sufficient for
what CNNs do: in-place activations, `x += y`, assignments to slices. Everything else is left to `run_decompositions`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import fx
from torch.fx.node import Argument

from fluxshard.passes.support.graph_edit import insert, overload
from fluxshard.passes.support.meta import shape

aten = torch.ops.aten

# Views through which a write can be carried back to their base.
_SAME = frozenset({"aten.alias.default", "aten.detach.default", "aten.lift_fresh.default", "aten.contiguous.default"})
_RESHAPES = frozenset({"aten.view.default", "aten.unsqueeze.default", "aten.squeeze.dim", "aten.flatten.using_ints"})
_WRITABLE = _SAME | _RESHAPES | {"aten.slice.Tensor", "aten.select.int", "aten.transpose.int", "aten.permute.default"}
# May return their input itself, although their schemas declare no alias.
_SILENT = frozenset({
    "aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default", "aten.type_as.default",
    "aten.meshgrid.indexing", "aten.meshgrid.default", "aten.pad.default",
})  # fmt: skip


@dataclass(slots=True)
class _Memory:
    """Nodes of the original graph that share memory: the owner first, then its views in graph order."""

    nodes: list[fx.Node] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    # keys are nodes of the original graph
    memory: dict[fx.Node, _Memory] = field(default_factory=dict)
    base: dict[fx.Node, fx.Node] = field(default_factory=dict)
    current: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def now(self, node: fx.Node) -> fx.Node:
        """The node that holds a node's value after the writes so far."""
        return self.current.get(node, node)

    def update(self, argument: Argument) -> Argument:
        return fx.map_arg(argument, self.now)

    def memory_of(self, node: fx.Node) -> _Memory:
        return self.memory.setdefault(node, _Memory([node]))


def functionalize(graph_module: fx.GraphModule) -> bool:
    """Removes in-place ops from a graph.

    Given:
        r (1, 16, 40, 40) = relu_(c)                            # c (1, 16, 40, 40)
        s (1, 16, 20, 40) = slice(r, 2, 0, 20)
        w (1, 16, 20, 40) = copy_(s, y)                         # y (1, 16, 20, 40)
        return r
    Result:
        relu (1, 16, 40, 40) = relu(c)
        s (1, 16, 20, 40) = slice(relu, 2, 0, 20)
        copy (1, 16, 20, 40) = copy(s, y)
        put (1, 16, 40, 40) = slice_scatter(relu, copy, 2, 0, 20)
        return put

    Leaves alone: graphs without in-place ops.

    Returns:
      True; False, with the graph partly rewritten, where an op has no functional form, writes to the module's own
      state or to a view that cannot be carried back.
    """
    state = _State()
    for node in list(graph_module.graph.nodes):
        if is_in_place(node):
            if not _write(node, state):
                return False
            continue
        looked_at = _looks_at(node)
        if looked_at is not None:
            state.base[node] = looked_at
            state.memory[node] = state.memory_of(looked_at)
            state.memory[node].nodes.append(node)
        node.args = state.update(node.args)
        node.kwargs = state.update(node.kwargs)
    graph_module.graph.lint()
    graph_module.recompile()
    return True


def is_in_place(node: fx.Node) -> bool:
    """True for a call whose schema says that it writes to an argument."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _looks_at(node: fx.Node) -> fx.Node | None:
    """The input whose memory a node may share; None where it owns its memory."""
    first = next(iter(node.all_input_nodes), None)
    if node.op != "call_function" or first is None:
        return None
    schema = getattr(node.target, "_schema", None)
    annotated = schema is not None and any(result.alias_info is not None for result in schema.returns)
    return first if annotated or node.target is operator.getitem or overload(node) in _SILENT else None


def _write(node: fx.Node, state: _State) -> bool:
    written, target = node.args[0] if node.args else None, _functional(node)
    if not isinstance(written, fx.Node) or target is None:
        return False
    memory = state.memory_of(written)
    root = memory.nodes[0]
    others = [other for other in memory.nodes if other is not written and any(node < user for user in other.users)]
    if root.op == "get_attr":
        return False  # a write to the module's own state
    fresh = insert(node, target, state.update(node.args), state.update(node.kwargs), like=node)  # type: ignore[arg-type]
    fresh.meta["val"] = written.meta["val"]
    state.current[written] = fresh
    if others and not _replay(node, written, memory, state):
        return False
    node.replace_all_uses_with(written)  # readers go through _State.now to what holds its value
    node.graph.erase_node(node)
    return True


def _functional(node: fx.Node) -> Callable[..., object] | None:
    namespace, op, kind = overload(node).split(".")
    packet = getattr(getattr(torch.ops, namespace), op[:-1], None) if op.endswith("_") else None
    return getattr(packet, kind, None)


def _replay(before: fx.Node, written: fx.Node, memory: _Memory, state: _State) -> bool:
    """Carries a write up to the owner of the memory, then down to its other views; False where it cannot."""
    changed, view = {written}, written
    while view in state.base:
        base = state.base[view]
        carried = _carry(before, view, state.now(base), state.now(view))
        if carried is None:
            return False
        state.current[base] = carried
        changed.add(base)
        view = base
    for view in memory.nodes:
        if view in changed or view not in state.base or not view < before:
            continue
        if overload(view) not in _WRITABLE:
            if any(before < user for user in view.users):
                return False
            continue
        again = (state.now(state.base[view]), *view.args[1:])
        state.current[view] = insert(before, view.target, again, dict(view.kwargs), like=view)  # type: ignore[arg-type]
    return True


def _carry(before: fx.Node, view: fx.Node, base: fx.Node, value: fx.Node) -> fx.Node | None:
    """The new value of `base` after its view got `value`; None for views that cannot be written through."""
    name, rest = overload(view), view.args[1:]
    if name in _SAME:
        return value
    if name in _RESHAPES:
        return insert(before, aten.reshape.default, (value, list(shape(base))), like=base)
    if name == "aten.slice.Tensor":
        return insert(before, aten.slice_scatter.default, (base, value, *rest), dict(view.kwargs), like=base)
    if name == "aten.select.int":
        return insert(before, aten.select_scatter.default, (base, value, *rest), like=base)
    if name == "aten.transpose.int":
        return insert(before, aten.transpose.int, (value, *rest), like=base)
    if name == "aten.permute.default":
        order = [int(axis) % len(shape(base)) for axis in rest[0]]  # type: ignore[union-attr,arg-type]
        return insert(
            before, aten.permute.default, (value, [order.index(axis) for axis in range(len(order))]), like=base
        )
    return None
