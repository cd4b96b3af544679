"""Whole networks: the rewritten graph, and the plan run layer by layer, compute what the model computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_unflatten, treespec_loads

from fluxshard.ir.params import Affine, Conv2d
from fluxshard.ir.plan import Plan
from fluxshard.ops.interpret import interpret
from fluxshard.options import CompileOptions
from fluxshard.passes import run_passes
from fluxshard.passes.capture.trace import trace
from fluxshard.passes.lower import lower


def capture(net: nn.Module, height: int, width: int) -> Plan:
    """Compiles a model to a Plan and compares three ways of running it."""
    net = net.float().eval()
    _make_statistics_matter(net)
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(image)
        traced = trace(net, image)
        graph_module = run_passes(traced, CompileOptions())
        plan, weights = lower(graph_module, traced)
        _assert_close(tree_leaves(graph_module(image)), tree_leaves(expected))
        leaves = interpret(plan, weights, image)
    _assert_close(leaves, tree_leaves(expected))
    assert Plan.from_json(plan.to_json()) == plan
    assert type(tree_unflatten(leaves, treespec_loads(plan.output_tree))) is type(expected)
    return plan


def _make_statistics_matter(net: nn.Module) -> None:
    """Fresh norms scale by 1 and shift by 0, and folding them wrongly would go unseen; trained ones are kept."""
    generator = torch.Generator().manual_seed(1)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None and bool((norm.running_var == 1).all()):
            assert norm.running_mean is not None
            norm.running_mean.copy_(torch.rand(norm.num_features, generator=generator) * 0.2)
            norm.running_var.copy_(torch.rand(norm.num_features, generator=generator) + 0.3)


def _assert_close(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    spread = [
        float(leaf.std())
        for leaf in expected
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel() > 1
    ]
    assert max(spread) > 0, "a network whose outputs say nothing"
    for one, other in zip(found, expected, strict=True):
        if not isinstance(other, Tensor):
            assert one == other
            continue
        assert one.shape == other.shape and one.dtype == other.dtype
        assert bool(torch.isfinite(other).all()), "a network that overflows"
        assert float((one - other).abs().max()) <= 1e-4 * max(1.0, float(other.abs().max()))


def modes(plan: Plan) -> Counter[str]:
    return Counter(layer.mode for layer in plan.layers)


# the largest of each model comes first in memory: they are built, used and dropped one by one
TASKS = {"yolo11n": ("detect", 87), "yolo11n-seg": ("segment", 100), "yolo11n-pose": ("pose", 96)}


@pytest.mark.parametrize("name", TASKS)
def test_yolo(name: str, data_dir: Path) -> None:
    ultralytics = pytest.importorskip(
        "ultralytics", reason="ultralytics is not installed: pip install 'fluxshard[yolo]'"
    )
    path = data_dir / "weights" / f"{name}.pt"
    if not path.is_file():
        pytest.skip(f"no {path}")
    plan = capture(ultralytics.YOLO(path).model, 256, 384)
    _check_yolo(plan)


def test_yolo_from_its_description_alone() -> None:
    ultralytics = pytest.importorskip(
        "ultralytics", reason="ultralytics is not installed: pip install 'fluxshard[yolo]'"
    )
    plan = capture(ultralytics.YOLO("yolo11n.yaml").model, 96, 160)
    _check_yolo(plan)


def _check_yolo(plan: Plan) -> None:
    """Attention and the head's decoding run whole; everything else is sparse or a view."""
    islands = [layer for layer in plan.layers if layer.mode == "dense"]
    assert len(islands) == 2
    assert "softmax" in " ".join(island.reason for island in islands)
    assert not [layer.name for layer in plan.layers if isinstance(layer.params, Affine)], "every norm is folded"
    convolutions = [layer for layer in plan.layers if isinstance(layer.params, Conv2d)]
    assert len(convolutions) >= 87
    assert {"model.0", "model.2.cv1", "model.10.m.0.attn.qkv", "model.23.cv2.0.0"} <= {
        layer.name for layer in plan.layers
    }
    assert sum(layer.macs for layer in islands) < 0.02 * plan.macs
    assert {(grid.stride_y, grid.stride_x) for grid in plan.grids} == {(s, s) for s in (1, 2, 4, 8, 16, 32)}


CLASSIFIERS: dict[str, tuple[tuple[int, int], dict[str, int]]] = {
    "resnet18": ((96, 128), {"sparse": 21, "dense": 1}),
    "mobilenetv3_small_100": ((64, 96), {"sparse": 43, "dense": 10}),
    "convnext_atto": ((64, 96), {"sparse": 56, "dense": 1}),
    "convnext_tiny": ((64, 96), {"sparse": 80, "dense": 1}),
    "tf_efficientnet_b0": ((64, 96), {"sparse": 65, "dense": 17}),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, timm: Any) -> None:
    size, expected = CLASSIFIERS[name]
    plan = capture(timm.create_model(name, pretrained=False), *size)
    assert modes(plan) == expected


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "hrnet_w18_small"])
def test_backbones_have_no_island(name: str, timm: Any) -> None:
    plan = capture(timm.create_model(name, pretrained=False, features_only=True), 64, 96)
    assert modes(plan)["dense"] == 0


class UNet(nn.Module):
    def __init__(self, upsampling: str) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.down1, self.down2, self.down3 = _double(3, 8), _double(8, 16), _double(16, 32)
        self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.narrow2, self.narrow1 = nn.Conv2d(32, 16, 1), nn.Conv2d(16, 8, 1)
        self.join2, self.join1, self.out = _double(32, 16), _double(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.down3(F.max_pool2d(b, 2))
        b = self.join2(torch.cat([b, self._up(c, self.up2, self.narrow2, b)], 1))
        y: Tensor = self.out(self.join1(torch.cat([a, self._up(b, self.up1, self.narrow1, a)], 1)))
        return y

    def _up(self, x: Tensor, transposed: nn.Module, narrow: nn.Module, like: Tensor) -> Tensor:
        if self.upsampling == "transposed":
            y: Tensor = transposed(x)
            return y
        y = narrow(F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=self.upsampling == "corners"))
        return y


def _double(channels_in: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for count in (channels_in, channels):
        layers += [
            nn.Conv2d(count, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear", "corners"])
def test_unet(upsampling: str) -> None:
    plan = capture(UNet(upsampling), 32, 48)
    assert modes(plan)["dense"] == 0 and modes(plan)["view"] == 2


def test_unet_at_an_odd_size_joins_whole_what_is_on_other_grids() -> None:
    plan = capture(UNet("bilinear"), 30, 44)
    reasons = " ".join(layer.reason for layer in plan.layers)
    assert "on different grids: 15x22 of stride 2x2 and 15x22 of stride" in reasons


class Pyramid(nn.Module):
    """Dilated branches with image-level features, as DeepLab has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.branches = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=rate, dilation=rate) for rate in (1, 2, 4)])
        self.level, self.out = nn.Conv2d(8, 8, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.stem(x))
        level = F.interpolate(self.level(F.adaptive_avg_pool2d(x, 1)), size=x.shape[-2:], mode="bilinear")
        y = self.out(torch.cat([*(F.relu(branch(x)) for branch in self.branches), level], 1))
        return {"out": F.interpolate(y, scale_factor=2, mode="nearest"), "level": x.mean((2, 3))}


def test_dilated_pyramid() -> None:
    plan = capture(Pyramid(), 40, 64)
    level = next(layer for layer in plan.layers if layer.mode == "dense" and "pools" in layer.reason)
    assert plan.value(level.outputs[0]).grid == 1, "image-level features are stretched over the map again"


class Residues(nn.Module):
    """Sums of dilated branches, joined, normalised, PReLU: as ESPNet has."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.act = nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.PReLU()
        self.branches = nn.ModuleList([nn.Conv2d(6, 6, 3, padding=r, dilation=r, bias=False) for r in (1, 2, 4, 8)])
        self.norm, self.slopes = nn.BatchNorm2d(24), nn.PReLU(24)
        self.norm2, self.slopes2, self.pool = nn.BatchNorm2d(27), nn.PReLU(27), nn.AvgPool2d(3, 2, 1)
        self.up = nn.ConvTranspose2d(27, 5, 2, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.act(self.reduce(x))
        sums: list[Tensor] = []
        for branch in self.branches:
            sums.append(branch(reduced) + sums[-1] if sums else branch(reduced))
        joined = self.slopes(self.norm(torch.cat(sums, 1)))
        y: Tensor = self.up(self.slopes2(self.norm2(torch.cat([joined, self.pool(x)], 1))))
        return y


def test_dilated_residues() -> None:
    plan = capture(Residues(), 40, 56)
    assert modes(plan) == {"sparse": 9, "view": 2}
    joined = [layer for layer in plan.layers if isinstance(layer.params, Affine)]
    assert [layer.params.act for layer in joined if isinstance(layer.params, Affine)] == [("prelu",), ("prelu",)]


def _normalised(x: Tensor) -> Tensor:
    return (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class Oddities(nn.Module):
    """Ops at the edges of what is supported, at a size that no stride divides."""

    def __init__(self) -> None:
        super().__init__()
        self.even, self.depth = nn.Conv2d(3, 8, 4, 1, 1), nn.Conv2d(8, 8, 3, 2, 1, groups=8)
        self.mix, self.gain = nn.Conv2d(8, 8, 3), nn.Parameter(torch.rand(8, 1, 1))

    def forward(self, x: Tensor) -> tuple[object, ...]:
        y = self.even(_normalised(torch.cat([x, x[:, :1]], 1)[:, 1:]))
        y = F.max_pool2d(y * torch.sigmoid(y), 3, 2, 1, ceil_mode=True)
        z = self.depth(y)
        z = self.mix(F.pad(z * F.relu6(z + 3) / 6, (1, 2, 1, 0), mode="reflect")) * self.gain + 1
        a, b = (-(1 - z) / 2).chunk(2, 1)
        z = torch.cat([b, a], 1)[:, :, 1:-1]
        masked = z * torch.sigmoid(z.amax(1, keepdim=True))
        resized = [F.interpolate(z, size=(13, 17), mode=mode) for mode in ("nearest", "bilinear")]
        return F.conv2d(masked, self.mix.weight), resized, x, y.flatten(1).argsort(1), z.shape[2], None


def test_oddities() -> None:
    plan = capture(Oddities(), 45, 70)
    assert modes(plan)["dense"] >= 2
    assert plan.layers[0].op == "copy", "views of the image read a copy"


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 3)),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()),
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.PixelShuffle(2), nn.Conv2d(2, 4, 3)),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Upsample(scale_factor=2, mode="bicubic"), nn.Softplus()),
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.SELU(), nn.LPPool2d(2, 2)),
    ],
    ids=["instance norm", "batch norm of the frame", "group norm, shuffle", "bicubic", "weight norm, selu, lp pool"],
)
def test_what_has_no_kernel_runs_whole(build: Callable[[], nn.Module]) -> None:
    plan = capture(build(), 12, 16)
    islands = [layer for layer in plan.layers if layer.mode == "dense"]
    assert islands and all(island.reason for island in islands)
    assert plan.layers[0].mode == "sparse"
