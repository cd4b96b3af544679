"""From a captured graph to a graph of reference calls: the passes, their order, and what runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, fx

from fluxshard.errors import PassError
from fluxshard.options import CompileOptions
from fluxshard.passes.annotate_receptive_field import annotate_receptive_field
from fluxshard.passes.canonicalize import canonicalize
from fluxshard.passes.capture.trace import Traced
from fluxshard.passes.fold_batchnorm import fold_batchnorm
from fluxshard.passes.fuse_epilogue import fuse_epilogue
from fluxshard.passes.fuse_padding import fuse_padding
from fluxshard.passes.mark_sparse import mark_sparse
from fluxshard.passes.swap_sparse import swap_sparse

Pass = Callable[[fx.GraphModule, CompileOptions], fx.GraphModule]

PIPELINE: tuple[Pass, ...] = (
    canonicalize,  # first: later passes know one spelling of each op
    fold_batchnorm,  # before fuse_epilogue: a batch norm hides conv -> activation
    annotate_receptive_field,  # before the fusions: only what is on a grid, and shares it, may be fused
    fuse_padding,
    fuse_epilogue,
    annotate_receptive_field,  # again, after every structural change
    mark_sparse,  # needs grids and parameters
    swap_sparse,  # last: reads annotations, mechanical
)


def run_passes(traced: Traced, options: CompileOptions) -> fx.GraphModule:
    """Applies `PIPELINE` to a copy of a captured graph.

    Args:
      traced: the captured model; not changed.
      options: `dump_dir` receives the graph after every pass, as `NN_pass.txt`.

    Returns:
      a graph of reference calls and islands; it runs, and returns what the model returns.

    Raises:
      PassError: a pass failed, or changed the shape or dtype of what the model returns.
    """
    return apply_passes(traced.graph_module, PIPELINE, options)


def apply_passes(graph_module: fx.GraphModule, passes: tuple[Pass, ...], options: CompileOptions) -> fx.GraphModule:
    """Applies passes, one after another, to a copy of a graph; see `run_passes`."""
    current = _copy(graph_module)
    expected = _signature(current)
    done: list[str] = []
    for index, apply in enumerate(passes):
        name = apply.__name__
        try:
            current = apply(current, options)
            current.graph.eliminate_dead_code()
            current.graph.lint()
        except Exception as error:  # any failure of a pass is reported with where it happened
            raise PassError(f"{name} failed after [{', '.join(done)}]: {type(error).__name__}: {error}") from error
        found = _signature(current)
        if found != expected:
            raise PassError(f"{name} failed after [{', '.join(done)}]: outputs were {expected} and are now {found}")
        done.append(name)
        if options.dump_dir is not None:
            _dump(current, Path(options.dump_dir), f"{index:02}_{name}.txt")
    current.recompile()
    return current


def _copy(graph_module: fx.GraphModule) -> fx.GraphModule:
    graph = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    for node in graph_module.graph.nodes:
        mapping[node] = graph.node_copy(node, lambda source: mapping[source])
        mapping[node].meta = dict(node.meta)
    graph._codegen = graph_module.graph._codegen
    return fx.GraphModule(graph_module, graph, class_name=type(graph_module).__name__)


def _signature(graph_module: fx.GraphModule) -> list[str]:
    """Shapes and dtypes of the output's leaves."""
    leaves: list[str] = []

    def see(leaf: fx.Node) -> None:
        value = leaf.meta.get("val")
        leaves.append(f"{value.dtype}{list(value.shape)}" if isinstance(value, Tensor) else str(type(value).__name__))

    fx.map_arg(graph_module.graph.output_node().args, see)
    return leaves


def _dump(graph_module: fx.GraphModule, directory: Path, name: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    lines = [node.format_node() or "" for node in graph_module.graph.nodes]
    (directory / name).write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
