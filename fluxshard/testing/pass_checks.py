"""Checks of passes: what a rewritten graph computes, and which ops it calls."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from fluxshard.options import CompileOptions
from fluxshard.passes import Pass, apply_passes
from fluxshard.passes.capture.trace import trace
from fluxshard.testing.comparisons import assert_same_leaves


def assert_pass_preserves(
    passes: Pass | Sequence[Pass],
    net: nn.Module,
    example: Tensor,
    *,
    tolerance: float = 1e-5,
    idempotent: bool = True,
) -> fx.GraphModule:
    """Captures a model, applies passes, and asserts that the rewritten graph computes what the model does.

    Args:
      passes: the pass under test, preceded by those that it needs.
      net: a model with one image input.
      example: `(1, C, H, W)`.
      tolerance: largest difference allowed, absolute and relative.
      idempotent: also asserts that applying the passes again changes no op.

    Returns:
      the rewritten graph.

    Raises:
      AssertionError: outputs differ, or a second application changes an op.
      PassError: a pass failed, or changed the shape or dtype of an output.
    """
    chosen = (passes,) if callable(passes) else tuple(passes)
    with torch.no_grad():
        expected = tree_leaves(net.eval()(example))
        rewritten = apply_passes(trace(net, example).graph_module, chosen, CompileOptions())
        assert_same_leaves(tree_leaves(rewritten(example)), expected, tolerance)
        if idempotent:
            again = apply_passes(rewritten, chosen, CompileOptions())
            assert ops(again) == ops(rewritten), "the pass changes its own result"
    return rewritten


def ops(graph_module: fx.GraphModule) -> list[str]:
    """Names of the ops and modules that a graph calls, in order: `conv2d`, `relu`, `island_0`."""
    found = []
    for node in graph_module.graph.nodes:
        if node.op == "call_function":
            found.append(str(getattr(node.target, "_opname", "") or getattr(node.target, "__name__", node.name)))
        elif node.op == "call_module":
            found.append(str(node.target))
    return found
