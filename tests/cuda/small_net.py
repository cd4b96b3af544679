"""One small net for tests of the whole CUDA backend: its kernels are compiled once for all of them."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluxshard
from fluxshard.options import DType

SIZE = (32, 48)


class SmallNet(nn.Module):
    """Convolutions, squeeze-excite, attention, an upsampled branch and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.qkv = nn.Conv2d(16, 24, 1)
        self.fuse, self.up = nn.Conv2d(24, 8, 1), nn.ConvTranspose2d(8, 4, 2, 2)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        stem = F.silu(self.stem(image))
        deep = F.silu(self.deep(stem))
        deep = deep * torch.sigmoid(self.excite(F.relu(self.squeeze(deep.mean((2, 3), keepdim=True)))))
        q, k, v = self.qkv(deep).flatten(2).split((4, 4, 16), 1)
        deep = deep + (v @ (q.transpose(1, 2) @ k).softmax(-1).transpose(1, 2)).view_as(deep)
        fused = F.silu(self.fuse(torch.cat([stem, F.interpolate(deep, scale_factor=2.0)], 1)))
        return {"map": self.up(fused), "pooled": deep.mean((2, 3))}


def small_net() -> SmallNet:
    """The net with weights from a seed, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = SmallNet().eval()
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return net


@cache
def small_model(dtype: DType = "float32") -> fluxshard.CompiledModel:
    """The net in the emulator, compiled once a process: not for what changes how models are compiled."""
    options = fluxshard.CompileOptions(backend="emulated", dtype=dtype)
    return fluxshard.compile(small_net(), torch.zeros(1, 3, *SIZE), options=options, target="cuda")
