"""ESPNet: semantic segmentation by pyramids of dilated convolutions, with the parameter names of its public weights.

Source: Mehta et al., ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic Segmentation, ECCV 2018.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle", "other",
)  # fmt: skip
# of the training pictures, in the order blue, green, red, which is that of the weights
MEAN, DEVIATION = (72.3923, 82.9089, 73.1584), (45.3192, 46.1529, 44.9148)


def _convolution(c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, (kernel // 2) * dilation, dilation, bias=False)


class Plain(nn.Module):
    """A convolution by the name `conv`."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = _convolution(c_in, c_out, kernel, stride, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """`(1, c_in, h, w)` to `(1, c_out, h / stride, w / stride)`."""
        out: Tensor = self.conv(x)
        return out


class NormAct(nn.Module):
    """Batch normalisation and PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn, self.act = nn.BatchNorm2d(channels, eps=1e-3), nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        out: Tensor = self.act(self.bn(x))
        return out


class ConvNormAct(NormAct):
    """A convolution, batch normalisation and PReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(c_out)
        self.conv = _convolution(c_in, c_out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """`(1, c_in, h, w)` to `(1, c_out, h / stride, w / stride)`."""
        return super().forward(self.conv(x))


class Pyramid(nn.Module):
    """Reduces channels to a fifth, convolves with dilations 1 to 16, and adds the results up step by step."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        fifth = c_out // 5
        self.c1 = Plain(c_in, fifth, 3 if stride > 1 else 1, stride)
        self.d1 = Plain(fifth, c_out - 4 * fifth, 3)
        self.d2, self.d4, self.d8, self.d16 = (Plain(fifth, fifth, 3, dilation=dilation) for dilation in (2, 4, 8, 16))

    def forward(self, x: Tensor) -> Tensor:
        """`(1, c_in, h, w)` to `(1, c_out, h / stride, w / stride)`, before any normalisation."""
        x = self.c1(x)
        parts, total = [self.d1(x)], None
        for branch in (self.d2, self.d4, self.d8, self.d16):
            y = branch(x)
            total = y if total is None else total + y
            parts.append(total)
        return torch.cat(parts, 1)


class Down(Pyramid):
    """A pyramid at half the resolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, stride=2)
        self.bn, self.act = nn.BatchNorm2d(c_out, eps=1e-3), nn.PReLU(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """`(1, c_in, h, w)` to `(1, c_out, h / 2, w / 2)`."""
        out: Tensor = self.act(self.bn(super().forward(x)))
        return out


class Block(Pyramid):
    """A pyramid, with a shortcut where channels stay the same."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out)
        self.bn = NormAct(c_out)
        self.is_residual = c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """`(1, c_in, h, w)` to `(1, c_out, h, w)`."""
        y = super().forward(x)
        out: Tensor = self.bn(x + y if self.is_residual else y)
        return out


class Encoder(nn.Module):
    """Features at strides 2, 4 and 8; the picture is added at each."""

    def __init__(self, classes: int, shallow: int, deep: int) -> None:
        super().__init__()
        self.level1, self.b1 = ConvNormAct(3, 16, 3, 2), NormAct(19)
        self.level2_0, self.level2 = Down(19, 64), nn.ModuleList(Block(64, 64) for _ in range(shallow))
        self.b2 = NormAct(131)
        self.level3_0, self.level3 = Down(131, 128), nn.ModuleList(Block(128, 128) for _ in range(deep))
        self.b3 = NormAct(256)
        self.classifier = Plain(256, classes, 1)
        self.halve = nn.AvgPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(1, 16, h/2, w/2)`, `(1, 131, h/4, w/4)` and the scores of the classes `(1, classes, h/8, w/8)`."""
        half = self.halve(x)
        first = self.level1(x)
        start = y = self.level2_0(self.b1(torch.cat([first, half], 1)))
        for block in self.level2:
            y = block(y)
        second = self.b2(torch.cat([y, start, self.halve(half)], 1))
        start = y = self.level3_0(second)
        for block in self.level3:
            y = block(y)
        return first, second, self.classifier(self.b3(torch.cat([start, y], 1)))


class ESPNet(nn.Module):
    """Scores of classes for every pixel; images of whole multiples of 8 px.

    Args:
      classes: number of classes.
      shallow, deep: numbers of blocks at strides 4 and 8.
    """

    def __init__(self, classes: int = len(CLASSES), shallow: int = 2, deep: int = 8) -> None:
        super().__init__()
        self.encoder = Encoder(classes, shallow, deep)
        self.level3_C, self.br = Plain(131, classes, 1), nn.BatchNorm2d(classes, eps=1e-3)
        self.conv = ConvNormAct(16 + classes, classes, 3)
        self.up_l3 = nn.Sequential(nn.ConvTranspose2d(classes, classes, 2, 2, bias=False))
        self.combine_l2_l3 = nn.Sequential(NormAct(2 * classes), Block(2 * classes, classes))
        self.up_l2 = nn.Sequential(nn.ConvTranspose2d(classes, classes, 2, 2, bias=False), NormAct(classes))
        self.classifier = nn.ConvTranspose2d(classes, classes, 2, 2, bias=False)
        self.scale = _normalisation()

    def forward(self, image: Tensor) -> Tensor:
        """`(1, 3, H, W)` RGB in 0..1 to logits `(1, classes, H, W)`."""
        first, second, third = self.encoder(self.scale(image))
        both = torch.cat([self.level3_C(second), self.up_l3(self.br(third))], 1)
        merged = self.up_l2(self.combine_l2_l3(both))
        out: Tensor = self.classifier(self.conv(torch.cat([merged, first], 1)))
        return out


def _normalisation() -> nn.Conv2d:
    """From RGB in 0..1 to blue, green, red as the network was trained on them: a 1x1 convolution without training."""
    scale = nn.Conv2d(3, 3, 1)
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    with torch.no_grad():
        scale.weight.copy_(torch.diag(1 / deviation).flip(1)[:, :, None, None])
        assert scale.bias is not None
        scale.bias.copy_(-mean / deviation / 255)
    return scale


def load_espnet(weights: Path) -> ESPNet:
    """The network with public weights, `espnet_p_2_q_8` of the authors' decoder, in evaluation mode."""
    net = ESPNet()
    own = {name: tensor for name, tensor in net.state_dict().items() if name.startswith("scale.")}
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True) | own)
    return net.eval().requires_grad_(False)
