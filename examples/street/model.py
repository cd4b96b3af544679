"""StreetNet: a small network that labels every pixel of a street and finds its cars and pedestrians.

Residual blocks down to stride 16, nearest upsampling and concatenation back to stride 4, and two heads there: logits of
the seven classes, and an anchor-free detector (a heat map of object centres and the distances to the box's sides).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.street.scene import CLASSES, OBJECT_CLASSES

STRIDE_PX = 4
BOX_UNIT_PX = 32.0
WEIGHTS = Path(__file__).with_name("weights.npz")


class ConvNormAct(nn.Sequential):
    """Convolution, batch normalisation and SiLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(c_out),
            nn.SiLU(inplace=True),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = ConvNormAct(channels, hidden)
        self.second = ConvNormAct(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(1, C, H, W)` to the same shape."""
        out: Tensor = x + self.second(self.first(x))
        return out


class Head(nn.Sequential):
    """A 3x3 convolution, then one value per output and position."""

    def __init__(self, c_in: int, hidden: int, c_out: int) -> None:
        super().__init__(ConvNormAct(c_in, hidden), nn.Conv2d(hidden, c_out, 1))


class StreetNet(nn.Module):
    """Segmentation and detection of streets; about 0.2 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, 16, stride=2)
        self.down4 = nn.Sequential(ConvNormAct(16, 24, stride=2), Residual(24, 24))
        self.down8 = nn.Sequential(ConvNormAct(24, 40, stride=2), Residual(40, 32), Residual(40, 32))
        self.down16 = nn.Sequential(ConvNormAct(40, 64, stride=2), Residual(64, 32), Residual(64, 32))
        self.merge8 = nn.Sequential(ConvNormAct(64 + 40, 40, 1), ConvNormAct(40, 40))
        self.merge4 = nn.Sequential(ConvNormAct(40 + 24, 32, 1), ConvNormAct(32, 32))
        self.classes = Head(32, 32, len(CLASSES))
        self.centres = Head(32, 24, len(OBJECT_CLASSES))
        self.boxes = Head(32, 24, 4)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Runs the network on an image `(1, 3, H, W)` in 0..1, H and W multiples of 16.

        Returns:
          at stride 4: "classes" `(1, 7, H/4, W/4)` logits, "centres" `(1, 2, …)` logits, "boxes" `(1, 4, …)` distances
          to top, left, bottom and right in units of BOX_UNIT_PX.
        """
        x4 = self.down4(self.stem(image))
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        x8 = self.merge8(torch.cat([F.interpolate(x16, scale_factor=2.0, mode="nearest"), x8], 1))
        x4 = self.merge4(torch.cat([F.interpolate(x8, scale_factor=2.0, mode="nearest"), x4], 1))
        return {"classes": self.classes(x4), "centres": self.centres(x4), "boxes": self.boxes(x4)}


@dataclass(frozen=True, slots=True)
class Detection:
    """A found object: its class, box (y0, x0, y1, x1) in pixels and score."""

    label: int
    box: tuple[float, float, float, float]
    score: float


def class_map(outputs: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """The class of every pixel, `(H, W)`, from the logits interpolated to the image's size."""
    logits = F.interpolate(outputs["classes"], scale_factor=float(STRIDE_PX), mode="bilinear", align_corners=False)
    return logits[0].argmax(0).to(torch.uint8).numpy()


def detections(outputs: Mapping[str, Tensor], threshold: float = 0.4, most: int = 40) -> tuple[Detection, ...]:
    """Objects at the peaks of the heat map, the surest first; of two boxes that cover one another the surer stays."""
    heat = outputs["centres"].sigmoid()
    peaks = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
    scores, flat = peaks.flatten().topk(most)
    _, _, height, width = heat.shape
    found: list[Detection] = []
    for score, index in zip(scores.tolist(), flat.tolist(), strict=True):
        if score < threshold:
            break
        kind, y, x = index // (height * width), index // width % height, index % width
        top, left, bottom, right = (outputs["boxes"][0, :, y, x] * BOX_UNIT_PX).tolist()
        centre_y, centre_x = (y + 0.5) * STRIDE_PX, (x + 0.5) * STRIDE_PX
        box = (
            max(centre_y - top, 0.0), max(centre_x - left, 0.0),
            min(centre_y + bottom, height * STRIDE_PX), min(centre_x + right, width * STRIDE_PX),
        )  # fmt: skip
        label = OBJECT_CLASSES[kind]
        if all(other.label != label or box_iou(box, other.box) < 0.55 for other in found):
            found.append(Detection(label, box, score))
    return tuple(found)


def box_iou(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes (y0, x0, y1, x1)."""
    across = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return across / (areas - across) if areas > across else 0.0


def to_image(picture: NDArray[np.uint8]) -> Tensor:
    """A picture `(H, W, 3)` as the network's input `(1, 3, H, W)` in 0..1."""
    return torch.from_numpy(picture.astype(np.float32) / 255.0).permute(2, 0, 1)[None].contiguous()


def save_weights(net: StreetNet, path: Path = WEIGHTS) -> None:
    """Writes the weights in half precision: the file needs nothing but NumPy to be read."""
    values = {name: tensor.cpu().numpy() for name, tensor in net.state_dict().items()}
    np.savez_compressed(path, **{k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in values.items()})


def load_trained(path: Path = WEIGHTS) -> StreetNet:
    """The trained network, in eval mode and single precision."""
    net = StreetNet()
    with np.load(path) as file:
        values = {name: torch.from_numpy(file[name]) for name in file.files}
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in values.items()})
    return net.eval()
