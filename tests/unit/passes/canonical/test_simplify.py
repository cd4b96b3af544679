from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fluxshard.options import CompileOptions
from fluxshard.passes import apply_passes
from fluxshard.passes.canonical.simplify import drop_identities
from fluxshard.passes.capture.trace import trace
from fluxshard.testing import ops
from tests.unit.passes.canonical.nets import IMAGE, Function, Net, assert_left_alone, calls_after
from tests.unit.passes.through import rewritten


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: F.dropout(x, 0.5, m.training).contiguous().clone() + 1,
        lambda m, x: x.view(1, 4, 6, 8).expand(1, 4, 6, 8)[:, 0:4].float() + 1,
        lambda m, x: x.permute(0, 1, 2, 3).permute(0, -3, 2, -1) + 1,
        lambda m, x: F.pad(x, (0, 0, 0, 0)) + 1,
        lambda m, x: x.repeat(1, 1, 1, 1).flatten(0, 0).detach() + 1,
    ],
    ids=["dropout and copies", "views and casts", "permutations", "pads", "repeats"],
)
def test_identities_go(function: Function) -> None:
    assert calls_after(drop_identities, function) == ["add"]


def test_what_other_passes_left_goes_in_the_second_run() -> None:
    function: Function = lambda m, x: F.relu(x[:, :, :].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # noqa: E731
    assert calls_after(drop_identities, function, run=2) == ["relu"]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.view(1, 4, 48) + 1,
        lambda m, x: x[:, 1:] + 1,
        lambda m, x: x.permute(0, 1, 3, 2) + 1,
        lambda m, x: F.pad(x, (1, -1)) + 1,
        lambda m, x: (x + 1, torch.clone(m.gamma)),
    ],
    ids=["another shape", "a part", "another order", "a shift", "a copy of a constant"],
)
def test_leaves_alone(function: Function) -> None:
    assert_left_alone(drop_identities, function)


def test_a_cast_stays_without_the_check_that_capture_adds() -> None:
    assert calls_after(drop_identities, lambda m, x: x.double() + 1) == ["to", "add"]


def test_dropout_in_training_mode_stays() -> None:
    graph_module = trace(Net(lambda m, x: F.dropout(x, 0.5, True)), IMAGE).graph_module
    assert ops(apply_passes(graph_module, (drop_identities,), CompileOptions())) == ["dropout"]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.permute(0, 2, 3, 1).contiguous().view(1, 48, 4),
        lambda m, x: x.transpose(2, 3).clone(memory_format=torch.contiguous_format).view(1, -1),
        lambda m, x: torch.view_as_complex(x.unflatten(1, (2, 2)).permute(0, 1, 3, 4, 2).contiguous()).abs(),
        lambda m, x: x.permute(0, 2, 3, 1).contiguous().view(torch.int32) // 2,
        lambda m, x: x.permute(0, 2, 3, 1).contiguous().as_strided((6, 8), (4, 2), 3),
        lambda m, x: x.permute(0, 2, 3, 1).as_strided((6, 8), (1, 2), 3),
        lambda m, x: x.unfold(2, 2, 2).unfold(3, 2, 2).contiguous().view(1, 4, -1, 4),
    ],
    ids=["permute", "transpose", "complex", "bits", "strides", "strides of a view", "windows"],
)
def test_what_reads_memory_in_order_does_without_the_copy_in_front(function: Function) -> None:
    rewritten(drop_identities, Net(function), IMAGE)
    rewritten(drop_identities, Net(function), IMAGE, run=2)
