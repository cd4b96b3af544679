"""Law 1 on real architectures at sizes that are not square: random content and wrong motion included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluxshard
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import EXACT, check_against_dense

pytestmark = pytest.mark.requires_compiler


def _check(net: nn.Module, size: tuple[int, int], backend: str = "cpp", n: int = 3) -> None:
    model = fluxshard.compile(net, torch.zeros(1, 3, *size), options=fluxshard.CompileOptions(backend=backend))
    for kind in ("blocks", "pan"):
        with model.session(EXACT) as session:
            ratios = [s.compute_ratio for s in check_against_dense(net, session, frames(kind, size, n, 1), 1e-3)]
        assert ratios[0] == pytest.approx(1.0)


@pytest.mark.parametrize("weights", ["yolo11n.pt", "yolo11n-seg.pt", "yolo11n-pose.pt"])
def test_yolo11n(data_dir: Path, weights: str) -> None:
    from fluxshard.models.loading import ultralytics

    with pytest.warns(UserWarning, match="runs Python code"):
        net = ultralytics.load(data_dir / "weights" / weights).net
    _check(net, (192, 320))  # as other tests compile them


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100"])
def test_timm(name: str, timm: Any) -> None:
    torch.manual_seed(0)
    _check(timm.create_model(name, pretrained=False).eval(), (96, 160))


class UNet(nn.Module):
    """Two levels down, up by transposed convolution and bilinear resampling, skips by concatenation."""

    def __init__(self) -> None:
        super().__init__()

        def block(a: int, b: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True))

        self.down = nn.ModuleList([block(3, 8), block(8, 16), block(16, 32)])
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.decode = nn.ModuleList([block(32, 16), block(24, 8)])
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down[0](x)
        b = self.down[1](self.pool(a))
        c = self.down[2](self.pool(b))
        d = self.decode[0](torch.cat([self.up(c), b], 1))
        d = nn.functional.interpolate(d, scale_factor=2, mode="bilinear", align_corners=False)
        out: Tensor = self.head(self.decode[1](torch.cat([d, a], 1)))
        return out


class Dilated(nn.Module):
    """Parallel dilated convolutions (ASPP) on stride 4, with PReLU and a global branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.PReLU(12), nn.Conv2d(12, 16, 3, 2, 1), nn.PReLU(16))
        self.branches = nn.ModuleList(
            [nn.Conv2d(16, 8, 1), *(nn.Conv2d(16, 8, 3, 1, rate, rate) for rate in (2, 4, 6))]
        )
        self.globally = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 32, 1), nn.Sigmoid())
        self.head = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        features = torch.cat([branch(x) for branch in self.branches], 1) * self.globally(x)
        out: Tensor = self.head(features)
        return out


@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize("kind", [UNet, Dilated])
def test_own(kind: type[nn.Module], backend: str) -> None:
    torch.manual_seed(0)
    _check(kind().eval(), (72, 100), backend)


def test_a_new_size_starts_the_stream_anew() -> None:
    torch.manual_seed(0)
    net = UNet().eval()
    model = fluxshard.compile(net, options=fluxshard.CompileOptions(backend="reference"))
    with model.session(EXACT) as session, torch.inference_mode():
        for size in ((40, 48), (40, 48), (48, 40)):
            image = torch.rand(1, 3, *size)
            assert_same(session.run(image), net(image))
            keyframes = session.stats.keyframe
        assert keyframes
