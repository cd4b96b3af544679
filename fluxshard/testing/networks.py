"""Small networks whose results are easy to predict."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel

CELL = 8
"""Side of the cells that `BrightCells` looks at, in pixels."""


class TwoStrides(nn.Module):
    """Two convolutions, to strides 2 and 4; returns the image and the features of both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(1, 3, H, W)`, `(1, 8, H / 2, W / 2)`, `(1, 4, H / 4, W / 4)`."""
        y = torch.relu(self.first(x))
        return x, y, self.second(y)


class BrightCells(nn.Module):
    """A detector of bright 8-px cells: one box per cell, scored 2 * mean - 1; boxes as Ultralytics lays them out."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Conv2d(3, 1, CELL, CELL)
        nn.init.constant_(self.mean.weight, 2 / (3 * CELL * CELL))
        assert self.mean.bias is not None
        nn.init.constant_(self.mean.bias, -1.0)
        self.act = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        """`(1, 5, cells)`: x, y, width, height in pixels, score."""
        score = self.act(self.mean(image))
        height, width = score.shape[2:]
        y = (CELL * torch.arange(height) + CELL / 2).view(1, 1, height, 1).expand(1, 1, height, width)
        x = (CELL * torch.arange(width) + CELL / 2).view(1, 1, 1, width).expand(1, 1, height, width)
        side = torch.full((1, 2, height, width), float(CELL))
        return torch.cat([x, y, side, score], 1).flatten(2)


def bright_model() -> LoadedModel:
    """`BrightCells` as if it was read from a weights file: one class, "bright"."""
    net = BrightCells().eval().requires_grad_(False)
    return LoadedModel(net, "detect", HeadLayout("detect", 1), ("bright",), CELL)


def square(y: int, x: int, size: tuple[int, int] = (32, 48), value: float = 1.0) -> Tensor:
    """A black image with one bright square of 8 px, which `BrightCells` finds where it covers a cell.

    Args:
      y, x: of the square's upper left pixel.
      size: (H, W) of the image.
      value: of its pixels, 0..1.

    Returns:
      `(1, 3, H, W)` float32.
    """
    image = torch.zeros(1, 3, *size)
    image[..., y : y + CELL, x : x + CELL] = value
    return image


def box_at(y: int, x: int) -> list[float]:
    """x1, y1, x2, y2 of a square of 8 px, in pixels."""
    return [x, y, x + CELL, y + CELL]
