"""The pass pipeline: rewrites a captured graph as a graph of reference calls and islands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, fx

from fluxshard.errors import PassError
from fluxshard.files import write_whole
from fluxshard.options import CompileOptions
from fluxshard.passes.annotate_receptive_field import annotate_receptive_field
from fluxshard.passes.canonical.activation_patterns import recognise_activations
from fluxshard.passes.canonical.cell_layouts import follow_layouts
from fluxshard.passes.canonical.channels_last import move_permutes
from fluxshard.passes.canonical.constant_outputs import copy_constant_outputs
from fluxshard.passes.canonical.fold_constants import fold_constants
from fluxshard.passes.canonical.op_variants import unify_op_variants
from fluxshard.passes.canonical.operands import normalise_operands
from fluxshard.passes.canonical.simplify import drop_identities
from fluxshard.passes.capture.trace import Traced
from fluxshard.passes.fold_batchnorm import fold_batchnorm
from fluxshard.passes.fuse_epilogue import fuse_epilogue
from fluxshard.passes.fuse_padding import fuse_padding
from fluxshard.passes.mark_sparse import mark_sparse
from fluxshard.passes.swap_sparse import swap_sparse

Pass = Callable[[fx.GraphModule, CompileOptions], fx.GraphModule]

PIPELINE: tuple[Pass, ...] = (
    fold_constants,  # first: the passes below recognise constants as get_attr nodes
    drop_identities,  # before formulas are matched: a dropout or a view inside one hides it
    unify_op_variants,  # before all that match ops and read arguments: one overload, one form
    recognise_activations,  # after unify_op_variants: knows aten.add.Tensor, aten.mul.Tensor and relu6 only
    normalise_operands,  # before fold_batchnorm, which reads numbers and (1, C, 1, 1) operands in second place only
    move_permutes,  # after unify_op_variants, which gives layer norms all five arguments
    follow_layouts,  # after move_permutes: tokens of three axes, and what is left of four
    drop_identities,  # again: slices of all channels, from unify_op_variants
    copy_constant_outputs,  # after fold_constants and drop_identities, which leave constants as outputs
    fold_batchnorm,  # before fuse_epilogue: a batch norm hides conv -> activation
    annotate_receptive_field,  # before the fusions: only ops on one grid are fused
    fuse_padding,  # before fuse_epilogue, whose calls have no annotations until the next analysis
    fuse_epilogue,  # after all that remove calls between an op and its activation
    annotate_receptive_field,  # again: after every structural change
    mark_sparse,  # after the analysis: reads parameters
    swap_sparse,  # last: reads annotations, decides nothing
)


def run_passes(traced: Traced, options: CompileOptions) -> fx.GraphModule:
    """Applies `PIPELINE` to a copy of a captured graph.

    Args:
      traced: the captured model; not changed.
      options: `dump_dir` receives the graph after every pass, as `NN_pass.txt`.

    Returns:
      an executable graph of reference calls and islands that returns what the model returns.

    Raises:
      PassError: a pass failed, or changed the shape or dtype of an output of the model.
    """
    return apply_passes(traced.graph_module, PIPELINE, options)


def apply_passes(graph_module: fx.GraphModule, passes: tuple[Pass, ...], options: CompileOptions) -> fx.GraphModule:
    """Applies passes in order to a copy of a graph; dead calls are removed and the graph is checked after each.

    Args:
      graph_module: the graph; not changed.
      passes: applied from first to last.
      options: given to every pass; `dump_dir` receives the graph after each.

    Raises:
      PassError: a pass failed, or changed the shape or dtype of an output.
    """
    current = _copy(graph_module)
    expected = _signature(current)
    done: list[str] = []
    for index, apply in enumerate(passes):
        name = apply.__name__
        try:
            current = apply(current, options)
            current.graph.eliminate_dead_code()
            current.graph.lint()
        except Exception as error:  # passes may raise anything; the report names the pass
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
    """Dtype and shape of each node among the leaves of the output; the type of what is no tensor."""
    leaves: list[str] = []

    def see(leaf: fx.Node) -> None:
        value = leaf.meta.get("val")
        leaves.append(f"{value.dtype}{list(value.shape)}" if isinstance(value, Tensor) else str(type(value).__name__))

    fx.map_arg(graph_module.graph.output_node().args, see)
    return leaves


def _dump(graph_module: fx.GraphModule, directory: Path, name: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    lines = [node.format_node() or "" for node in graph_module.graph.nodes]
    write_whole(directory / name, ("\n".join(line for line in lines if line) + "\n").encode())
