"""Random CNNs: directed graphs of all kinds of ops, odd sizes, shared modules, branches; from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = tuple[Callable[..., Tensor], tuple[int, ...]]


class RandomNet(nn.Module):
    """A net of `n_steps` random ops on a small image.

    Args:
      seed: decides everything, weights included.
      n_steps: ops.
      integer: small integer weights and bounded activations, so that float32 arithmetic is exact and masks can be
        compared bit for bit.
      islands: allow ops that are dense on purpose (squeeze-excite, attention, global pooling).
    """

    def __init__(self, seed: int, n_steps: int = 7, *, integer: bool = False, islands: bool = True) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.integer = integer
        self.islands = islands
        self.size = self.random.choice([(23, 30), (32, 32), (17, 29), (40, 24), (31, 37)])
        self.kept = nn.ModuleList()
        self.shared = self._add(nn.ReLU() if integer else self.random.choice([nn.SiLU(), nn.ReLU(), nn.LeakyReLU(0.1)]))
        self.steps: list[Step] = []
        self.shapes: list[tuple[int, int, int]] = [(3, *self.size)]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            self._grow(n_steps)
            self._settle()
        self.outputs = sorted({len(self.steps), self.random.randint(1, len(self.steps))})
        self.eval()

    def _grow(self, n_steps: int) -> None:
        tensors = [torch.zeros(1, 3, *self.size)]
        while len(self.steps) < n_steps:
            step = self._draw()
            if step is None:
                continue
            try:
                result = step[0](*(tensors[i] for i in step[1]))
            except RuntimeError:  # torch refuses the size: draw again
                continue
            if min(result.shape[2:]) < 2 or result[0].numel() > 60_000:
                continue
            tensors.append(result)
            self.shapes.append((result.shape[1], result.shape[2], result.shape[3]))
            self.steps.append(step)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        tensors = [image]
        for function, inputs in self.steps:
            tensors.append(function(*(tensors[i] for i in inputs)))
        return {f"out{i}": tensors[i] for i in self.outputs}

    def _settle(self) -> None:
        """Gives weights a range that keeps deep values in scale, or makes them small integers."""
        for module in self.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if self.integer:
                    parameter.data = torch.randint(-1, 2, parameter.shape).float()
                elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and name == "weight":
                    nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.data = torch.randn_like(module.running_mean) * 0.2
                module.running_var.data = torch.rand_like(module.running_var) + 0.5

    def _add(self, module: nn.Module) -> nn.Module:
        self.kept.append(module)
        return module

    def _bounded(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        """Integer nets clamp after sums, or values leave the range in which float32 is exact."""
        return (lambda x: torch.clamp(module(x), -8.0, 8.0)) if self.integer else module

    def _draw(self) -> Step | None:
        r = self.random
        last = len(self.shapes) - 1
        at = r.choice([last, last, r.randrange(last + 1)])
        c, h, w = self.shapes[at]
        names = ["conv", "conv", "conv", "conv_act", "residual", "join", "cat", "activation", "slice", "pool",
                 "upsample", "transposed", "pad", "crop"]  # fmt: skip
        if not self.integer:
            names += ["batch_norm", "avg_pool", "bilinear", "prelu", "layer_norm", "linear", "mul"]
            if self.islands:
                names += ["squeeze_excite", "attention"]
        return getattr(self, f"_{r.choice(names)}")(at, c, h, w)

    def _conv_module(self, c: int) -> nn.Conv2d:
        r = self.random
        out = r.choice([2, 3, 4, 6, 8, 17])
        groups = r.choice([1, 1, 1, c, 2])
        if c % groups:
            groups = 1
        out = out if out % groups == 0 else c
        kernel = (r.choice([1, 2, 3, 3, 4, 5]), r.choice([1, 2, 3, 3, 4, 5]))
        dilation = r.choice([1, 1, 1, 2, 3])
        padding = (r.randint(0, kernel[0] * dilation // 2), r.randint(0, kernel[1] * dilation // 2))
        stride = r.choice([1, 1, 1, 2, 2, 3, (1, 2)])
        return nn.Conv2d(c, out, kernel, stride, padding, dilation, groups, bias=r.random() < 0.7)

    def _conv(self, at: int, c: int, h: int, w: int) -> Step:
        return self._bounded(self._add(self._conv_module(c))), (at,)

    def _conv_act(self, at: int, c: int, h: int, w: int) -> Step:
        conv = self._bounded(self._add(self._conv_module(c)))
        return (lambda x: self.shared(conv(x))), (at,)  # one activation instance, used many times

    def _residual(self, at: int, c: int, h: int, w: int) -> Step:
        conv = self._add(nn.Conv2d(c, c, 3, 1, 1))
        before = self.random.random() < 0.5
        if self.integer:
            return (lambda x: torch.clamp(x + conv(x), -8.0, 8.0)), (at,)
        return (lambda x: x + self.shared(conv(x)) if before else self.shared(conv(x) + x)), (at,)

    def _partner(self, at: int, same_channels: bool) -> int | None:
        c, h, w = self.shapes[at]
        found = [
            i
            for i, (ci, hi, wi) in enumerate(self.shapes)
            if (hi, wi) == (h, w) and (ci == c or not same_channels) and i
        ]
        return self.random.choice(found) if found else None

    def _join(self, at: int, c: int, h: int, w: int) -> Step | None:
        other = self._partner(at, True)
        if other is None:
            return None
        kind = self.random.choice([torch.add, torch.sub])
        return (lambda a, b: torch.clamp(kind(a, b), -8.0, 8.0)), (at, other)

    def _mul(self, at: int, c: int, h: int, w: int) -> Step | None:
        other = self._partner(at, True)
        return None if other is None else ((lambda a, b: torch.tanh(a * b) * 0.5 + 1), (at, other))

    def _cat(self, at: int, c: int, h: int, w: int) -> Step | None:
        other = self._partner(at, False)
        return None if other is None or c > 24 else ((lambda a, b: torch.cat([a, b], 1)), (at, other))

    def _activation(self, at: int, c: int, h: int, w: int) -> Step:
        kinds = [nn.ReLU(), nn.ReLU6(), nn.ReLU(inplace=True)]
        if not self.integer:
            kinds += [nn.SiLU(), nn.Hardswish(), nn.GELU(), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU(0.2)]
        module = self._add(self.random.choice(kinds))
        if getattr(module, "inplace", False):
            return (lambda x: module(x + 0)), (at,)
        return module, (at,)

    def _slice(self, at: int, c: int, h: int, w: int) -> Step | None:
        if c < 2:
            return None
        cut = self.random.randint(1, c - 1)
        kind = self.random.randrange(3)
        if kind == 0:
            return (lambda x: x[:, :cut]), (at,)
        if kind == 1:
            return (lambda x: torch.split(x, [cut, c - cut], 1)[1]), (at,)
        return (lambda x: torch.cat(torch.chunk(x, 2, 1)[::-1], 1)), (at,)

    def _pool(self, at: int, c: int, h: int, w: int) -> Step:
        r = self.random
        kernel = r.choice([2, 3, 3, 5])
        module = nn.MaxPool2d(
            kernel, r.choice([1, 2, 2, 3]), r.randint(0, kernel // 2), r.choice([1, 1, 2]), ceil_mode=r.random() < 0.5
        )
        return self._add(module), (at,)

    def _avg_pool(self, at: int, c: int, h: int, w: int) -> Step:
        r = self.random
        kernel = r.choice([2, 3])
        module = nn.AvgPool2d(
            kernel, r.choice([1, 2]), r.randint(0, 1), r.random() < 0.5, r.random() < 0.5, r.choice([None, None, 5])
        )
        return self._add(module), (at,)

    def _upsample(self, at: int, c: int, h: int, w: int) -> Step | None:
        if h > 24 or w > 24:
            return None
        factor = self.random.choice([2, 2, 3])
        return (lambda x: F.interpolate(x, scale_factor=factor, mode="nearest")), (at,)

    def _bilinear(self, at: int, c: int, h: int, w: int) -> Step | None:
        if h > 24 or w > 24:
            return None
        kind = self.random.randrange(4)
        if kind == 0:
            return (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)), (at,)
        if kind == 1:
            return (lambda x: F.interpolate(x, size=(h + 5, 2 * w - 1), mode="bilinear", align_corners=False)), (at,)
        factor = self.random.choice([2, 2, 3])
        return (lambda x: F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)), (at,)

    def _transposed(self, at: int, c: int, h: int, w: int) -> Step | None:
        if h > 24 or w > 24:
            return None
        r = self.random
        stride = r.choice([1, 2, 2, 3])
        kernel = r.choice([2, 3, 4])
        module = nn.ConvTranspose2d(
            c,
            r.choice([2, 4, 5]),
            kernel,
            stride,
            r.randint(0, 1),
            r.randint(0, stride - 1),
            dilation=r.choice([1, 1, 2]),
        )
        return self._bounded(self._add(module)), (at,)

    def _pad(self, at: int, c: int, h: int, w: int) -> Step:
        mode = self.random.choice(["constant", "constant", "replicate", "reflect", "circular"])
        pads = tuple(self.random.randint(0, 3) for _ in range(4))
        value = 1.0 if mode == "constant" else None
        return (lambda x: F.pad(x, pads, mode, value)), (at,)

    def _crop(self, at: int, c: int, h: int, w: int) -> Step | None:
        return None if h < 8 or w < 8 else ((lambda x: x[:, :, 1:-2, 2:]), (at,))

    def _batch_norm(self, at: int, c: int, h: int, w: int) -> Step:
        return self._add(nn.BatchNorm2d(c).eval()), (at,)

    def _prelu(self, at: int, c: int, h: int, w: int) -> Step:
        return self._add(nn.PReLU(self.random.choice([1, c]))), (at,)

    def _layer_norm(self, at: int, c: int, h: int, w: int) -> Step:
        norm = self._add(nn.LayerNorm(c))
        return (lambda x: norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)), (at,)

    def _linear(self, at: int, c: int, h: int, w: int) -> Step:
        one, two = self._add(nn.Linear(c, 2 * c)), self._add(nn.Linear(2 * c, c))
        return (lambda x: two(F.gelu(one(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)), (at,)

    def _squeeze_excite(self, at: int, c: int, h: int, w: int) -> Step:
        reduce, expand = self._add(nn.Conv2d(c, 2, 1)), self._add(nn.Conv2d(2, c, 1))
        return (lambda x: x * torch.sigmoid(expand(F.relu(reduce(F.adaptive_avg_pool2d(x, 1)))))), (at,)

    def _attention(self, at: int, c: int, h: int, w: int) -> Step | None:
        if h * w > 400:
            return None
        qkv = self._add(nn.Conv2d(c, 3 * c, 1))

        def attend(x: Tensor) -> Tensor:
            q, k, v = qkv(x).flatten(2).chunk(3, 1)
            return x + (v @ (q.transpose(1, 2) @ k * 0.2).softmax(-1).transpose(1, 2)).view_as(x)

        return attend, (at,)
