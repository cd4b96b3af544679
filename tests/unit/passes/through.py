"""Runs passes where the pipeline runs them."""

from __future__ import annotations

from torch import Tensor, fx, nn

from fluxshard.options import CompileOptions
from fluxshard.passes import PIPELINE, Pass, apply_passes
from fluxshard.passes.capture.trace import trace
from fluxshard.passes.support.meta import NodeInfo, info
from fluxshard.testing import assert_pass_preserves


def through(last: Pass, run: int = 1) -> tuple[Pass, ...]:
    """The pipeline up to and including the first, second, … run of a pass."""
    places = [index for index, each in enumerate(PIPELINE) if each is last]
    return PIPELINE[: places[run - 1] + 1]


def rewritten(last: Pass, net: nn.Module, image: Tensor, run: int = 1) -> fx.GraphModule:
    """The graph after a pass, checked: it computes what the model does, and applying the pass again changes nothing."""
    graph_module = assert_pass_preserves(through(last, run), net, image, idempotent=False)
    again = apply_passes(graph_module, (last,), CompileOptions())
    assert described(again) == described(graph_module), f"{last.__name__} changes its own result"
    return graph_module


def before(last: Pass, net: nn.Module, image: Tensor, run: int = 1) -> fx.GraphModule:
    """The graph that a pass is given, without calls that nobody reads."""
    graph_module = apply_passes(trace(net.eval(), image).graph_module, through(last, run)[:-1], CompileOptions())
    graph_module.graph.eliminate_dead_code()
    return graph_module


def described(graph_module: fx.GraphModule) -> list[tuple[str, NodeInfo]]:
    """Every node as text, with its annotations."""
    return [(str(node.format_node()), info(node)) for node in graph_module.graph.nodes]
