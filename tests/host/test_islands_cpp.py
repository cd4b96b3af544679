"""Islands in generated C++ against torch, whatever the number of threads."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluxshard
from fluxshard.motion import MotionField
from fluxshard.options import CompileOptions

Op = Callable[[Tensor], Tensor]

# on a dense tensor (A, B, C)
OPS: dict[str, Op] = {
    **{name: getattr(torch, name) for name in ("relu", "sigmoid", "tanh", "exp", "sin", "cos", "neg", "abs", "square")},
    **{name: getattr(F, name) for name in ("relu6", "silu", "hardswish", "hardsigmoid", "mish", "gelu", "elu")},
    "gelu_tanh": lambda t: F.gelu(t, approximate="tanh"),
    "leaky_relu": lambda t: F.leaky_relu(t, 0.2),
    "clamp": lambda t: t.clamp(-0.5, 0.7),
    "clamp_min": lambda t: t.clamp_min(0.1),
    "sqrt": lambda t: (t.abs() + 1).sqrt(),
    "rsqrt": lambda t: (t.abs() + 1).rsqrt(),
    "reciprocal": lambda t: (t.abs() + 1).reciprocal(),
    "pow": lambda t: t**3 + (t.abs() + 1) ** -0.5,
    "rsub": lambda t: torch.rsub(t, 2.0, alpha=0.5),
    "maximum": lambda t: torch.maximum(t, t.flip(-1)),
    "minimum": lambda t: torch.minimum(t, t.roll(1, 0)),
    "broadcast": lambda t: t * t[:1] + t[:, :1] / (2 + t[..., :1].abs()) - t[:, :, 0, None],
    "alpha": lambda t: torch.add(t, t[0], alpha=0.3),
    "softmax last": lambda t: t.softmax(-1),
    "softmax middle": lambda t: t.softmax(1),
    "softmax first": lambda t: t.softmax(0),
    "softmax turned": lambda t: t.transpose(-1, -2).softmax(-1),
    "softmax large": lambda t: (t * 300).softmax(-1),
    "log softmax": lambda t: t.log_softmax(-1),
    "log softmax middle": lambda t: t.log_softmax(1),
    "sum last": lambda t: t.sum(-1),
    "mean middle": lambda t: t.mean(1, keepdim=True),
    "mean two": lambda t: t.mean((0, 2)),
    "mean all": lambda t: t.mean((0, 1, 2), keepdim=True),
    "amax": lambda t: t.amax((1, 2)),
    "amin": lambda t: t.amin(0),
    "max": lambda t: t.max(1)[0],
    "matmul": lambda t: t @ t.transpose(-1, -2),
    "matmul turned": lambda t: t.transpose(-1, -2) @ t,
    "matmul vector": lambda t: t @ t[0, 0],
    "matmul matrix": lambda t: t @ t[0].T,
    "bmm": lambda t: torch.bmm(t, t.transpose(1, 2).softmax(-1)),
    "attention": lambda t: F.scaled_dot_product_attention(t[None], t[None], t[None]),
    "attention by hand": lambda t: t @ ((t.transpose(-1, -2) * 0.3) @ t).softmax(-1).transpose(-1, -2),
    "layer norm": lambda t: F.layer_norm(t, t.shape[-1:]),
    "layer norm two": lambda t: F.layer_norm(t, t.shape[-2:], eps=1e-3),
    "group norm": lambda t: F.group_norm(t[None], 1),
    "cat": lambda t: torch.cat([t, t.sigmoid(), t[:, :1]], 1),
    "cat last": lambda t: torch.cat([t * 2, t.relu()], -1),
    "stack": lambda t: torch.stack([t, -t], -1),
    "split": lambda t: torch.cat(t.split(2, -1)[::-1], -1),
    "chunk": lambda t: t.chunk(2, -1)[0] * t.chunk(2, -1)[0],
    "unbind": lambda t: t.unbind(0)[-1] + 1,
    "pad": lambda t: F.pad(t, (2, 1, -1, 3), value=0.5),
    "repeat": lambda t: t.repeat(2, 1, 2) * 1.5,
    "expand": lambda t: t[None].expand(3, -1, -1, -1) + 1,
    "permute": lambda t: t.permute(2, 0, 1).reshape(-1) * 2,
    "squeeze": lambda t: t.unsqueeze(1).squeeze(1) + t.narrow(-1, 0, 1),
    "norm": lambda t: torch.linalg.vector_norm(t, dim=(1, 2), keepdim=True),
    "addcmul": lambda t: torch.addcmul(t, t[:1], t.sigmoid(), value=0.5),
    "pixels": lambda t: F.pixel_shuffle(t.reshape(1, -1, t.shape[-1]).repeat(1, 4, 1)[..., None], 2) + 1,
}  # fmt: skip


class Weighted(nn.Module):
    """Ops that have weights, on (A, B, C)."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(columns, 7), nn.LayerNorm(columns)
        self.point, self.line = nn.Conv2d(rows, 6, 1), nn.Conv1d(rows, 5, 1, bias=False)
        self.groups, self.instance = nn.Conv2d(2 * rows, 4, 1, groups=2), nn.GroupNorm(2, 2 * rows)
        self.along = nn.Conv1d(rows, 4, 3, stride=2, padding=2, dilation=2)
        self.matrix = nn.Parameter(torch.randn(rows, 9))
        self.anchors = nn.Parameter(torch.randn(1, rows, columns))

    def forward(self, t: Tensor) -> list[Tensor]:
        turned = t.transpose(0, 1)[None]  # (1, B, A, C)
        twice = torch.cat([turned, turned.flip(-1)], 1)
        return [
            self.linear(t), self.norm(t), self.point(turned), self.line(t), self.groups(twice), self.instance(twice),
            self.matrix.T @ t, torch.addmm(self.linear.bias, t[0], self.linear.weight.T), t * self.anchors,
            self.along(t), self.linear(t.mean((0, 1))[None]), self.point(turned.mean((2, 3), keepdim=True)),
        ]  # fmt: skip


class Dense(nn.Module):
    """A convolution, and every op on its features as a dense tensor."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.parts, self.rows = draw.randint(1, 3), draw.randint(2, 9)
        self.size = draw.randint(3, 13), draw.randint(3, 17)
        self.conv = nn.Conv2d(3, self.parts * self.rows, 3, padding=1)
        self.weighted = Weighted(self.rows, self.size[0] * self.size[1])

    def forward(self, image: Tensor) -> list[Tensor]:
        t = self.conv(image).reshape(self.parts, self.rows, -1)
        return [*(op(t) for op in OPS.values()), *self.weighted(t)]


class Gated(nn.Module):
    """Squeeze and excite; a map that attention fills; sums in torch, which read the gate; and what reads the sums."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.after = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 5, 1)
        self.down, self.up = nn.Conv2d(12, 3, 1), nn.Conv2d(3, 12, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = self.conv(image)
        gate = self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        x = self.after(x * gate)
        flat = x.flatten(2)
        mixed = (flat @ (flat.transpose(1, 2) @ flat).softmax(-1)).view_as(x)
        sums = (x.mean((2, 3)) + gate.flatten(1)[:, :5]).cumsum(1)
        scaled = torch.relu(mixed * sums[..., None, None])
        return mixed + x, gate, scaled.mean((2, 3)) + sums


class Head(nn.Module):
    """Boxes of three levels, as YOLO decodes them."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(3, 4 * 8 + 5, k, k) for k in (2, 4, 8))
        self.bins = nn.Conv2d(8, 1, 1, bias=False)
        self.anchors = nn.Parameter(torch.rand(1, 2, 1344))

    def forward(self, image: Tensor) -> Tensor:
        maps = [level(image) for level in self.levels]
        flat = torch.cat([m.flatten(2) for m in maps], 2)
        box, score = flat.split((32, 5), 1)
        edges = self.bins(box.view(1, 4, 8, -1).transpose(2, 1).softmax(1)).view(1, 4, -1)
        low, high = edges.chunk(2, 1)
        return torch.cat([self.anchors - low, self.anchors + high, score.sigmoid()], 1)


class Heads(nn.Module):
    """Attention of two heads over so many positions that every loop of it is shared out among threads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 192, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv(image)
        query, key, value = x.flatten(2).view(1, 2, 96, -1).split((32, 32, 32), 2)
        weights = (query.transpose(-2, -1) @ key * 0.2).softmax(-1)
        return (value @ weights.transpose(-2, -1)).reshape(1, 64, *x.shape[2:])


def images(size: tuple[int, int], count: int, seed: int) -> list[Tensor]:
    """The first is noise; each of the others differs from the one before in one place."""
    rng = np.random.default_rng(seed)
    made = [rng.random((1, 3, *size), np.float32)]
    for _ in range(count - 1):
        made.append(made[-1].copy())
        y, x = (int(rng.integers(n)) for n in size)
        made[-1][..., y, x] = 0
    return [torch.from_numpy(image) for image in made]


def leaves(out: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else list(out)


def run(
    model: fluxshard.CompiledModel, frames: Sequence[Tensor], threads: int = 2, moves: bool = False
) -> list[list[Tensor]]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with model.session(exact=True) as session:
            height, width = frames[0].shape[2:]
            motion = MotionField.uniform(height, width, 0, 8) if moves else None
            return [leaves(session.run(frame, motion)) for frame in frames]
    finally:
        torch.set_num_threads(before)


def in_torch(model: fluxshard.CompiledModel) -> list[str]:
    return [row.note for row in model.explain().rows if row.kernel == "torch"]


def check(net: nn.Module, frames: Sequence[Tensor], found: Sequence[Sequence[Tensor]], names: Sequence[str]) -> None:
    for frame, got in zip(frames, found, strict=True):
        with torch.no_grad():
            expected = leaves(net(frame))
        for name, one, two in zip(names, got, expected, strict=True):
            assert one.shape == two.shape, name
            far = float((one - two).abs().max() / two.abs().max().clamp_min(1e-3))
            assert far < 2e-5, f"{name}: {far:.2g} of its range from torch"


def bits(found: Sequence[Sequence[Tensor]]) -> list[bytes]:
    return [tensor.contiguous().numpy().tobytes() for frame in found for tensor in frame]


def test_attention_over_many_positions() -> None:
    torch.manual_seed(0)
    net, frames = Heads().eval(), images((40, 48), 2, 0)
    model = fluxshard.compile(net, frames[0])
    assert not in_torch(model)
    found = run(model, frames)
    check(net, frames, found, ["out"])
    assert bits(found) == bits(run(model, frames, threads=1))


@pytest.mark.parametrize("seed", range(3))
def test_every_op_is_what_torch_computes(seed: int) -> None:
    torch.manual_seed(seed)
    net = Dense(seed).eval()
    frames = images(net.size, 3, seed)
    model = fluxshard.compile(net, frames[0], options=CompileOptions(backend="cpp"))
    assert not in_torch(model)
    found = run(model, frames)
    check(net, frames, found, [*OPS, *(f"weighted {i}" for i in range(12))])
    assert bits(found) == bits(run(model, frames, threads=1))


@pytest.mark.parametrize("isa", ["avx2", "portable"])
def test_other_instructions(isa: str) -> None:
    torch.manual_seed(7)
    net = Dense(7).eval()
    frames = images(net.size, 2, 7)
    try:
        model = fluxshard.compile(net, frames[0], options=CompileOptions(backend="cpp", isa=isa))  # type: ignore[arg-type]
    except fluxshard.errors.ToolchainError as error:
        pytest.skip(str(error))
    check(net, frames, run(model, frames), [*OPS, *(f"weighted {i}" for i in range(12))])


@pytest.mark.parametrize("moves", [False, True], ids=["still", "moving"])
def test_a_head_in_tiles_is_what_torch_computes(moves: bool) -> None:
    """Tiles whose cells did not change keep what they have: the same bits as if all ran."""
    torch.manual_seed(3)
    net, size = Head().eval(), (64, 64)
    frames = images(size, 6, 3)
    model = fluxshard.compile(net, frames[0], options=CompileOptions(backend="cpp"))
    assert not in_torch(model)
    found = run(model, frames, moves=moves)
    check(net, frames, found, ["boxes"])
    assert bits(found) == bits(run(model, frames, threads=1, moves=moves))
    alone = [leaf for frame in frames for leaf in run(model, [frame])]
    assert bits(found) == bits(alone)


def test_islands_in_torch_and_generated_ones_read_each_other() -> None:
    torch.manual_seed(5)
    net = Gated().eval()
    frames = images((12, 20), 5, 5)
    model = fluxshard.compile(net, frames[0], options=CompileOptions(backend="cpp"))
    sums, reader = in_torch(model)
    assert "aten.cumsum.default: no generated code" in sums and "computes in torch" in reader
    found = run(model, frames)
    check(net, frames, found, ["mixed", "gate", "sums"])
    assert bits(found) == bits(run(model, frames, threads=1))


def test_nan_spreads_as_in_torch() -> None:
    torch.manual_seed(2)
    net = Dense(2).eval()
    image = images(net.size, 1, 2)[0]
    model = fluxshard.compile(net, image, options=CompileOptions(backend="cpp"))
    image[0, 0, 1, 1] = float("nan")
    (found,) = run(model, [image])
    with torch.no_grad():
        expected = net(image)
    for name, one, two in zip(OPS, found, expected, strict=False):
        if name == "attention":  # the fused kernel of torch has rules of its own
            continue
        assert torch.equal(one.isnan(), two.isnan()), name


def test_results_belong_to_the_caller() -> None:
    """A result is not changed by later frames, nor is the cache by whoever writes into it."""
    torch.manual_seed(3)
    net = Head().eval()
    frames = images((64, 64), 2, 3)
    model = fluxshard.compile(net, frames[0], options=CompileOptions(backend="cpp"))
    with model.session(exact=True) as session:
        first = session.run(frames[0])
        copy = first.clone()
        session.run(frames[1])
        assert torch.equal(first, copy)
        first.zero_()
        again = session.run(frames[1])
        assert torch.allclose(again, net(frames[1]), atol=1e-4)
