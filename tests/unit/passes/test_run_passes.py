from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import fx, nn

import fluxshard.passes
from fluxshard.errors import PassError
from fluxshard.options import CompileOptions
from fluxshard.passes import PIPELINE, Pass, apply_passes, run_passes
from fluxshard.passes.capture.trace import trace
from fluxshard.passes.fold_batchnorm import fold_batchnorm
from fluxshard.testing import assert_same_leaves, ops

IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
NET = nn.Sequential(
    nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 2)
).eval()


def fails(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    raise ValueError("on purpose")


def reshapes(graph_module: fx.GraphModule, options: CompileOptions) -> fx.GraphModule:
    for node in graph_module.graph.find_nodes(op="call_function", target=torch.ops.aten.flatten.using_ints):
        graph_module.graph.output_node().args = ((node,),)
    return graph_module


def test_the_captured_graph_is_not_changed() -> None:
    traced = trace(NET, IMAGE)
    before = traced.graph_module.code
    run_passes(traced, CompileOptions())
    assert traced.graph_module.code == before
    assert_same_leaves([traced.graph_module(IMAGE)], [NET(IMAGE)], 1e-6)


def test_the_result_runs_and_holds_what_it_needs_only() -> None:
    graph_module = run_passes(trace(NET, IMAGE), CompileOptions())
    assert ops(graph_module) == ["conv2d", "island_0"]
    assert_same_leaves([graph_module(IMAGE)], [NET(IMAGE)], 1e-6)
    held = {name for name, _ in [*graph_module.named_parameters(), *graph_module.named_buffers()]}
    assert held == {node.target for node in graph_module.graph.nodes if node.op == "get_attr"}


def test_graphs_are_dumped_after_every_pass(tmp_path: Path) -> None:
    run_passes(trace(NET, IMAGE), CompileOptions(dump_dir=tmp_path / "graphs"))
    written = sorted((tmp_path / "graphs").iterdir())
    assert [path.name for path in written] == [f"{index:02}_{made.__name__}.txt" for index, made in enumerate(PIPELINE)]
    folded = PIPELINE.index(fold_batchnorm)
    assert "batch_norm" in written[folded - 1].read_text() and "batch_norm" not in written[folded].read_text()


def test_a_failure_names_the_pass_and_those_before_it() -> None:
    with pytest.raises(
        PassError, match=r"fails failed after \[fold_constants, drop_identities\]: ValueError: on purpose"
    ):
        apply_passes(trace(NET, IMAGE).graph_module, (*PIPELINE[:2], fails), CompileOptions())


def test_a_change_of_the_outputs_shape_is_a_failure() -> None:
    with pytest.raises(PassError, match=r"reshapes failed after \[\]: outputs were .*1, 2.* and are now .*1, 144"):
        apply_passes(trace(NET, IMAGE).graph_module, (reshapes,), CompileOptions())


def test_every_pass_is_a_module_in_the_pipeline_with_tests_of_its_own() -> None:
    package = Path(fluxshard.passes.__file__).parent
    tests = Path(__file__).parent
    files = [*package.glob("*.py"), *(package / "canonical").glob("*.py")]
    modules = {path.relative_to(package).with_suffix("") for path in files if path.stem not in ("__init__", "lower")}
    in_pipeline = [Path(*each.__module__.split(".")[2:]) for each in dict.fromkeys(PIPELINE)]
    assert sorted(in_pipeline) == sorted(modules)
    assert [path for path in modules if not (tests / path.parent / f"test_{path.name}.py").is_file()] == []


@pytest.mark.parametrize("each", dict.fromkeys(PIPELINE), ids=lambda each: each.__name__)
def test_every_pass_shows_what_it_does(each: Pass) -> None:
    text = inspect.getdoc(each) or ""
    given, result = text.partition("Given:")[2].partition("Result:")[::2]
    assert "(1, " in given and "(1, " in result, "graphs before and after, with shapes"
    assert "Leaves alone:" in result


def test_every_pass_takes_a_graph_and_options() -> None:
    assert {tuple(inspect.signature(each).parameters) for each in PIPELINE} == {("graph_module", "options")}
