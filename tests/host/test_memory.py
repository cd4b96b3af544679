"""Memory of a process that runs for long: frames and sessions take what they took at the start."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from torch import nn

import fluxshard
from fluxshard.motion import MotionField

STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
pytestmark = pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc/self/statm")


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * PAGE_BYTES


class Net(nn.Module):
    """Convolutions, a view, an island with a vector, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.SiLU())
        self.gate = nn.Conv2d(16, 16, 1)
        self.head = nn.Conv2d(32, 8, 3, padding=1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(image)
        y = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.head(torch.cat([x, y], 1)), y


@pytest.fixture(scope="module")
def model() -> fluxshard.CompiledModel:
    torch.manual_seed(0)
    return fluxshard.compile(Net().eval(), torch.zeros(1, 3, 96, 128), options=fluxshard.CompileOptions(backend="cpp"))


def test_frames_take_no_memory(model: fluxshard.CompiledModel) -> None:
    """300 frames, 250 of them counted: a leak of a tenth of an output per frame would show."""
    torch.manual_seed(1)
    image = torch.rand(1, 3, 96, 128)
    output_bytes = 4 * (8 + 16) * 48 * 64
    with model.session() as session:
        for index in range(300):
            y, x = 3 * index % 80, 7 * index % 110
            image[:, :, y : y + 16, x : x + 18] = torch.rand(1, 3, 16, 18)
            motion = MotionField.zero(96, 128) if index % 3 else None
            session.run(image, motion)
            if index in (50, 299):
                gc.collect()
            if index == 50:
                before = resident_bytes()
        grown = resident_bytes() - before
    assert session.stats.frame == 299
    assert grown < 250 * output_bytes // 10, f"{grown / 1e6:.1f} MB more after 250 frames"


def test_sessions_give_back_what_they_took(model: fluxshard.CompiledModel) -> None:
    """50 sessions leave less than two of them hold, without the cyclic collector: it runs too rarely."""
    image = torch.rand(1, 3, 96, 128)
    gc.collect()
    gc.disable()
    try:
        for index in range(60):
            with model.session() as session:
                session.run(image)
                session.run(image + 0.1)
                one = session.state_bytes
            if index == 9:
                before = resident_bytes()
        grown = resident_bytes() - before
    finally:
        gc.enable()
    assert one > 2e6
    assert grown < 2 * one, f"{grown / 1e6:.1f} MB more after 50 sessions of {one / 1e6:.1f} MB"
