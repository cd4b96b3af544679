"""Small networks that several tests run."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwoStrides(nn.Module):
    """Strides 2 and 4; gives back the image and all features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.relu(self.first(x))
        return x, y, self.second(y)
