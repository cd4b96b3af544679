from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluxshard
from fluxshard.passes.canonical.cell_layouts import follow_layouts
from fluxshard.testing import ops
from tests.unit.passes.through import rewritten

IMAGE = torch.linspace(-1, 1, 3 * 12 * 16).reshape(1, 3, 12, 16).sin()


class Net(nn.Module):
    """A convolution, a function of its result, and a convolution."""

    def __init__(self, function: Callable[[nn.ModuleDict, Tensor], Tensor], channels: int = 8, out: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.first, self.last = nn.Conv2d(3, channels, 3, padding=1), nn.Conv2d(out, 2, 3, padding=1)
        self.parts = nn.ModuleDict({
            "wide": nn.Linear(8, 12), "narrow": nn.Linear(12, 8), "same": nn.Linear(8, 8), "norm": nn.LayerNorm(8),
            "three": nn.Linear(8, 24),
        })  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.parts, self.first(x)))


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _map(t: Tensor) -> Tensor:
    return t.transpose(1, 2).reshape(1, -1, 12, 16)


def _channel_shuffle(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def _blocks_first(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 5, 3, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def _spread(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


def _attention(m: nn.ModuleDict, x: Tensor) -> Tensor:
    tokens = _tokens(x)
    q, k, v = m["three"](m["norm"](tokens)).reshape(1, -1, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, -1, 8)
    tokens = tokens + 0.5 * m["same"](mixed)
    return _map(tokens + m["narrow"](F.gelu(m["wide"](m["norm"](tokens)))))


def _focus(x: Tensor) -> Tensor:
    return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


@pytest.mark.parametrize(
    ("function", "channels", "out"),
    [
        (lambda m, x: _map(m["wide"](m["norm"](_tokens(x)))), 8, 12),
        (lambda m, x: _map(F.gelu(m["wide"](_tokens(x))) * 2 + torch.arange(12)), 8, 12),
        (lambda m, x: _map(m["narrow"](m["wide"](x.permute(0, 2, 3, 1).reshape(1, -1, 8)).relu())), 8, 8),
        (lambda m, x: _channel_shuffle(x, 2), 8, 8),
        (lambda m, x: _channel_shuffle(x, 8), 64, 64),
        (lambda m, x: F.channel_shuffle(x, 4), 8, 8),
        (lambda m, x: F.pixel_shuffle(x, 2), 8, 2),
        (lambda m, x: F.pixel_unshuffle(x, 2), 8, 32),
        (lambda m, x: F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2), 8, 8),
        (lambda m, x: _blocks_first(x), 8, 32),
        (lambda m, x: _spread(x), 8, 2),
        (lambda m, x: _focus(x), 8, 32),
        (lambda m, x: x[:, :, 1:-2:3, ::2], 8, 8),
        (lambda m, x: x.view(1, 2, 4, -1).split([1, 3], 2)[1].reshape(1, 6, 12, 16), 8, 6),
        (lambda m, x: m["same"](torch.cat([_tokens(x), _tokens(x * 2)], 1))[:, :192].transpose(1, 2)[..., None], 8, 8),
    ],
    ids=[
        "norm and linear", "arithmetic", "channels last", "shuffle", "long shuffle", "the op", "depth to space",
        "space to depth", "there and back", "blocks first", "blocks to space", "focus", "steps", "parts of heads",
        "joined",
    ],
)  # fmt: skip
def test_runs_on_maps(function: Callable[[nn.ModuleDict, Tensor], Tensor], channels: int, out: int) -> None:
    net = Net(function, channels, out).eval()
    rewritten(follow_layouts, net, IMAGE)
    plan = fluxshard.compile(net, IMAGE, options=fluxshard.CompileOptions(backend="reference")).plan
    if out != 8 or channels == 64:
        assert not [layer.reason for layer in plan.layers if layer.mode == "dense"]
    assert sum(layer.macs for layer in plan.layers if layer.mode == "sparse") > 0.4 * plan.macs


def test_of_attention_only_the_products_of_tokens_with_tokens_are_dense() -> None:
    net = Net(_attention).eval()
    graph = rewritten(follow_layouts, net, IMAGE)
    assert ops(graph).count("linear") == 0
    plan = fluxshard.compile(net, IMAGE, options=fluxshard.CompileOptions(backend="reference")).plan
    (island,) = [layer for layer in plan.layers if layer.mode == "dense"]
    assert island.macs == 2 * 192 * 192 * 8


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.softmax(1).flip(2),
        lambda m, x: x.transpose(2, 3).transpose(2, 3) + x.mean((2, 3), keepdim=True),
        lambda m, x: x.view(1, 8, 6, 32).flip(3).view(1, 8, 12, 16),
    ],
    ids=["positions", "spatial transposes", "other rows"],
)
def test_what_mixes_positions_is_computed_as_it_was(function: Callable[[nn.ModuleDict, Tensor], Tensor]) -> None:
    rewritten(follow_layouts, Net(function).eval(), IMAGE)
