from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluxshard.passes.canonicalize import canonicalize
from fluxshard.testing import assert_pass_preserves, ops

IMAGE = torch.linspace(-4, 4, 4 * 6 * 8).reshape(1, 4, 6, 8)


class Net(nn.Module):
    """Calls one function; has some constants to call it with."""

    def __init__(self, function: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        self.function = function
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.rand(6, 4, 3, 3, generator=generator) - 0.5)
        self.even = nn.Parameter(torch.rand(6, 4, 2, 4, generator=generator) - 0.5)
        self.bias = nn.Parameter(torch.rand(6, generator=generator))
        self.vector = nn.Parameter(torch.rand(4, 1, 1, generator=generator) + 0.5)
        self.one = nn.Parameter(torch.tensor([1.5]))
        self.norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 8)
        self.back = nn.Linear(8, 4)
        self.gamma = nn.Parameter(torch.rand(4, generator=generator))

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def canonical(function: Callable[[Net, Tensor], object], image: Tensor = IMAGE) -> list[str]:
    return ops(assert_pass_preserves(canonicalize, Net(function), image))


SPELLINGS: dict[str, tuple[Callable[[Net, Tensor], object], list[str]]] = {
    # identities
    "dropout": (lambda m, x: F.dropout(x, 0.5, m.training).contiguous().clone() + 1, ["add"]),
    "views that change nothing": (lambda m, x: x.view(1, 4, 6, 8).expand(1, 4, 6, 8)[:, 0:4].float() + 1, ["add"]),
    # in place
    "relu_": (lambda m, x: F.relu_(x * 2), ["mul", "relu"]),
    "write to a slice": (lambda m, x: _assign(x * 2), ["mul", "add", "pad", "copy", "slice_scatter"]),
    # variants
    "chunk": (lambda m, x: x.chunk(2, 1)[1], ["slice"]),
    "split": (lambda m, x: torch.split(x, [1, 3], -3)[1], ["slice"]),
    "negative slice": (lambda m, x: x[:, -3:-1], ["slice"]),
    "crop": (lambda m, x: x[:, :, 1:-1, 2:], ["pad", "pad"]),
    "steps": (lambda m, x: x[:, ::2], ["slice"]),
    "hardtanh as relu6": (lambda m, x: F.hardtanh(x, 0, 6), ["relu6"]),
    "hardtanh": (lambda m, x: F.hardtanh(x), ["clamp"]),
    "clamp_min": (lambda m, x: x.clamp(min=0), ["relu"]),
    "rsub": (lambda m, x: 1 - x, ["sub"]),
    "neg": (lambda m, x: -x, ["mul"]),
    "square": (lambda m, x: x**2, ["mul"]),
    "scaled sum": (lambda m, x: torch.add(x, 2, alpha=3), ["add"]),
    "constant pad": (lambda m, x: torch.constant_pad_nd(x, [1, 2, 0, 1], 3.0), ["pad"]),
    "reflect": (lambda m, x: F.pad(x, (1, 2, 1, 0), mode="reflect"), ["pad"]),
    "upsample by factor": (lambda m, x: F.interpolate(x, scale_factor=2.0), ["upsample_nearest2d"]),
    "adaptive pooling by a factor": (lambda m, x: F.adaptive_avg_pool2d(x, (3, 2)), ["avg_pool2d"]),
    "adaptive pooling by no factor": (lambda m, x: F.adaptive_avg_pool2d(x, (4, 3)), ["adaptive_avg_pool2d"]),
    "pooling to one cell": (lambda m, x: F.adaptive_avg_pool2d(x, 1), ["adaptive_avg_pool2d"]),
    "convolution": (
        lambda m, x: torch.convolution(x, m.weight, m.bias, [2, 1], [1, 0], [1, 1], False, [0, 0], 1),
        ["conv2d"],
    ),
    "transposed convolution": (
        lambda m, x: torch.convolution(x, m.weight.transpose(0, 1).contiguous(), m.bias, [2], [1], [1], True, [1], 1),
        ["conv_transpose2d"],
    ),
    "same padding": (lambda m, x: F.conv2d(x, m.weight, m.bias, padding="same", dilation=2), ["conv2d"]),
    "same padding of an even kernel": (lambda m, x: F.conv2d(x, m.even, padding="same"), ["pad", "conv2d"]),
    # spelled out
    "silu": (lambda m, x: x * torch.sigmoid(x), ["silu"]),
    "hardsigmoid": (lambda m, x: F.relu6(x + 3) / 6, ["hardsigmoid"]),
    "hardswish": (lambda m, x: x * F.relu6(3 + x) / 6, ["hardswish"]),
    "hardswish, divided first": (lambda m, x: (F.relu6(x + 3) / 6) * x, ["hardswish"]),
    "mish": (lambda m, x: torch.tanh(F.softplus(x)) * x, ["mish"]),
    "gelu": (lambda m, x: 0.5 * x * (1 + torch.erf(x / 2**0.5)), ["gelu"]),
    "gelu, halved last": (lambda m, x: x * (1 + torch.erf(x * 2**-0.5)) * 0.5, ["gelu"]),
    "a gate of something else": (lambda m, x: x * torch.sigmoid(x + 1), ["add", "sigmoid", "mul"]),
    # constants
    "folded": (lambda m, x: x * (torch.arange(4).view(4, 1, 1) + m.vector).sqrt(), ["mul"]),
    "a number": (lambda m, x: x * m.one, ["mul"]),
    "only the type is read": (
        lambda m, x: x * (torch.arange(4, dtype=torch.float64).type_as(x).view(4, 1, 1) + 1),
        ["mul"],
    ),
    "only the shape is read": (
        lambda m, x: x + (torch.ones_like(x[:, :, :1, :1]) + x.new_full((4, 1, 1), 2.0)),
        ["add"],
    ),
    "like something computed": (lambda m, x: x + (torch.full_like(x.relu(), 3.0) - 1), ["add"]),
    "returned constants": (lambda m, x: (x, torch.arange(3) * 2), ["clone"]),
    # channels last
    "per-cell block": (
        lambda m, x: m.back(F.gelu(m.linear(m.norm(x.permute(0, 2, 3, 1))))).mul(m.gamma).permute(0, 3, 1, 2),
        ["channel_norm", "conv2d", "gelu", "conv2d", "mul"],
    ),
    "channels last to the end": (lambda m, x: m.linear(x.permute(0, 2, 3, 1)), ["conv2d", "permute"]),
    "both operands permuted": (
        lambda m, x: (x.permute(0, 2, 3, 1) + m.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
        ["channel_norm", "add"],
    ),
    "one operand permuted": (
        lambda m, x: x.permute(0, 2, 3, 1) + torch.relu(x.view(1, 6, 8, 4)),
        ["permute", "view", "relu", "add"],
    ),
    "norm over positions": (lambda m, x: F.layer_norm(x, (6, 8)), ["layer_norm"]),
}


def _assign(y: Tensor) -> Tensor:
    half = y[:, :, :3]
    half += 1
    y[:, :, 4:] = 7.0
    return y


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # by the model itself
@pytest.mark.parametrize("case", SPELLINGS)
def test_each_op_gets_one_spelling(case: str) -> None:
    function, expected = SPELLINGS[case]
    if case == "write to a slice":
        found = canonical(function)
        assert not any(name.endswith("_") for name in found) and "slice_scatter" in found
    else:
        assert canonical(function) == expected


def test_arguments_are_carried() -> None:
    graph_module = assert_pass_preserves(
        canonicalize,
        Net(lambda m, x: torch.convolution(x, m.weight, None, [2, 1], [1, 0], [1, 2], False, [0, 0], 1)),
        IMAGE,
    )
    (conv,) = (node for node in graph_module.graph.nodes if node.op == "call_function")
    assert conv.args[3:] == ([2, 1], [1, 0], [1, 2], 1)


def test_constant_operands_become_vectors_over_channels() -> None:
    graph_module = assert_pass_preserves(canonicalize, Net(lambda m, x: (x + m.vector) * m.one), IMAGE)
    add, mul = (node for node in graph_module.graph.nodes if node.op == "call_function")
    assert tuple(add.args[1].meta["val"].shape) == (1, 4, 1, 1)
    assert mul.args[1] == 1.5


def test_random_numbers_are_not_constants() -> None:
    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand(1, 1, 6, 8)

    from fluxshard.options import CompileOptions
    from fluxshard.passes import apply_passes
    from fluxshard.passes.capture.trace import trace

    graph_module = apply_passes(trace(Noise(), IMAGE).graph_module, (canonicalize,), CompileOptions())
    assert ops(graph_module) == ["rand", "add"]
