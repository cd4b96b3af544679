"""What tests of passes share, here and in code that adds passes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from fluxshard.options import CompileOptions
from fluxshard.passes import Pass, apply_passes
from fluxshard.passes.capture.trace import trace


def assert_pass_preserves(
    passes: Pass | Sequence[Pass],
    net: nn.Module,
    example: Tensor,
    *,
    tolerance: float = 1e-5,
    idempotent: bool = True,
) -> fx.GraphModule:
    """Captures a model, applies passes, and checks that the model's outputs are what they were.

    Args:
      passes: the pass, after those that it needs.
      net: any model of one image.
      example: `(1, C, H, W)`.
      tolerance: largest difference allowed, absolute and relative.
      idempotent: also checks that applying the passes again changes no op.

    Returns:
      the rewritten graph.
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


def assert_same_leaves(found: Sequence[object], expected: Sequence[object], tolerance: float) -> None:
    """Compares the leaves of two results: tensors within a tolerance, everything else exactly."""
    assert len(found) == len(expected), f"{len(found)} leaves instead of {len(expected)}"
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, Tensor):
            assert isinstance(one, Tensor)
            torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)
        else:
            assert one == other, f"{one!r} instead of {other!r}"


def ops(graph_module: fx.GraphModule) -> list[str]:
    """Names of the calls of a graph, in order: `conv2d`, `relu`, `island_0`."""
    found = []
    for node in graph_module.graph.nodes:
        if node.op == "call_function":
            found.append(str(getattr(node.target, "_opname", "") or getattr(node.target, "__name__", node.name)))
        elif node.op == "call_module":
            found.append(str(node.target))
    return found
