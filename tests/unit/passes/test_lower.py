from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_unflatten, treespec_loads

from fluxshard.ir.params import Binary, Conv2d, Island
from fluxshard.ir.plan import Output, Plan
from fluxshard.ops.interpret import interpret
from fluxshard.options import CompileOptions
from fluxshard.passes import run_passes
from fluxshard.passes.capture.trace import trace
from fluxshard.passes.lower import lower
from fluxshard.testing import assert_same_leaves

IMAGE = torch.rand(1, 4, 8, 6, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(channels, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


class Net(nn.Module):
    def __init__(self, function: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.first, self.second = Block(), Block()
        self.pool, self.up = nn.MaxPool2d(2), nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def lowered(function: Callable[[Net, Tensor], object]) -> tuple[Plan, dict[str, Tensor]]:
    net = Net(function).eval()
    traced = trace(net, IMAGE)
    plan, weights = lower(run_passes(traced, CompileOptions()), traced)
    with torch.no_grad():
        expected = net(IMAGE)
    leaves = interpret(plan, weights, IMAGE)
    assert_same_leaves(leaves, tree_leaves(expected), 1e-5)
    rebuilt = tree_unflatten(leaves, treespec_loads(plan.output_tree))
    assert type(rebuilt) is type(expected)
    assert Plan.from_json(plan.to_json()) == plan
    assert [weight.name for weight in plan.weights] == list(weights)
    return plan, weights


def test_layers_are_named_after_the_models_blocks() -> None:
    plan, weights = lowered(lambda m, x: m.pool(torch.cat([m.first(x), m.second(x) + 1], 1)))
    assert [layer.name for layer in plan.layers] == ["first", "second", "add", "cat", "pool"]
    assert list(weights) == [
        "first.conv.weight_folded", "first.conv.bias_folded", "second.conv.weight_folded", "second.conv.bias_folded",
    ]  # fmt: skip


def test_a_module_called_twice_gives_two_names() -> None:
    plan, _ = lowered(lambda m, x: m.first(m.first(x)))
    assert [layer.name for layer in plan.layers] == ["first", "first_1"]


def test_residuals_are_inputs_and_slopes_are_weights() -> None:
    plan, _ = lowered(lambda m, x: F.prelu(m.first.conv(x) + x, torch.full((4,), 0.2)))
    (layer,) = plan.layers
    assert layer.params == Conv2d(padding=((1, 1), (1, 1)), act_after=("prelu",))
    assert layer.inputs == ("x", "x")
    assert [role for role, _ in layer.weights] == ["weight", "slope"]


def test_islands() -> None:
    plan, _ = lowered(lambda m, x: {"a": x * F.adaptive_avg_pool2d(x, 1), "b": m.linear(x.mean((2, 3)))})
    binary, *islands = sorted(plan.layers, key=lambda layer: layer.mode == "dense")
    assert isinstance(binary.params, Binary) and binary.params.operand == "vector"
    assert all(isinstance(island.params, Island) for island in islands)
    assert all(plan.value(name).grid is None for island in islands for name in island.outputs)
    assert "pools over the whole map" in " ".join(island.reason for island in islands)


def test_multiply_accumulates() -> None:
    plan, _ = lowered(lambda m, x: (m.up(m.first(x)), m.linear(x.mean((2, 3)))))
    macs = {layer.name: layer.macs for layer in plan.layers}
    assert macs["first"] == 8 * 6 * 4 * 4 * 9
    # 16 x 12 cells; per axis one phase of two taps and one of one; 2 input channels per group
    assert macs["up"] == (8 * 3) * (6 * 3) * 6 * 2
    assert sum(macs.values()) - macs["first"] - macs["up"] == 4 * 3


def test_outputs_may_be_literals_the_image_and_constants() -> None:
    plan, _ = lowered(lambda m, x: [m.first(x), {"none": None, "text": "a", "n": x.shape[2]}, x, torch.ones(2) * 3])
    assert plan.outputs[1:5] == (Output(), Output(literal="a"), Output(literal=8), Output(value="x"))
    assert [value.name for value in plan.values if value.shape == (2,)] == [plan.outputs[5].value]


def test_weights_are_not_the_models_own() -> None:
    net = Net(lambda m, x: m.second.conv(m.first(x)))
    traced = trace(net, IMAGE)
    _, weights = lower(run_passes(traced, CompileOptions()), traced)
    with torch.no_grad():
        net.second.conv.weight.zero_()
    assert weights["second.conv.weight"].abs().sum() > 0


def test_the_same_model_gives_the_same_plan() -> None:
    assert (
        lowered(lambda m, x: m.first(x) + m.second(x))[0].digest()
        == lowered(lambda m, x: m.first(x) + m.second(x))[0].digest()
    )
