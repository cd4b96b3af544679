"""Names values of a Plan uniquely, after the module paths of the model."""

from __future__ import annotations

import operator
from collections import Counter
from typing import cast

from torch import fx

_CONVOLUTIONS = frozenset({"conv2d", "conv_transpose2d"})


class Namer:
    """Hands out names, each once.

    A layer of `torch.nn` is named after its path (`backbone.pool`). A block that holds one convolution, such as
    `conv -> bn -> act`, gives that layer the block's path (`model.2.cv1`, not `model.2.cv1.conv`). Any other call is
    named after its module's path and its op (`model.2.cat`). A name that is taken gets a number.

    Args:
      graph: the graph whose calls will be named.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self._taken: set[str] = set()
        paths = {_path(node)[0] for node in graph.nodes if _op(node) in _CONVOLUTIONS}
        self._convolutions = Counter(ancestor for path in paths for ancestor in _ancestors(path))

    def name(self, node: fx.Node) -> str:
        """Takes a name for the value of a node."""
        path, kind = _path(node)
        op = _op(node)
        if op in _CONVOLUTIONS and path:
            block = path.rpartition(".")[0]
            return self.free(block if block and self._convolutions[block] == 1 else path)
        is_layer = kind.startswith("torch.nn.modules.") and not kind.startswith("torch.nn.modules.container.")
        if is_layer and path:
            return self.free(path)
        return self.free(f"{path}.{op}" if path else op)

    def free(self, wanted: str) -> str:
        """Takes the wanted name, with a number where it is taken."""
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name


def convolutions_first(graph: fx.Graph) -> list[fx.Node]:
    """Calls in the order in which they are named: convolutions first, since they take the paths of their blocks."""
    calls = [node for node in graph.nodes if node.op == "call_function" and node.target is not operator.getitem]
    return sorted(calls, key=lambda node: _op(node) not in _CONVOLUTIONS)


def _op(node: fx.Node) -> str:
    if node.op != "call_function":
        return node.name
    name = str(getattr(node.target, "_opname", "") or getattr(node.target, "__name__", ""))
    if name == "binary":
        return str(node.kwargs["kind"])
    if name == "pointwise":
        return str(cast(tuple[str, ...], node.kwargs["act"])[0])
    return name


def _path(node: fx.Node) -> tuple[str, str]:
    """(module path, class) of the innermost module that called the op."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return "", ""
    path, kind = next(reversed(stack.values()))
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return str(path), name


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
