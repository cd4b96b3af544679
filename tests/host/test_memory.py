"""Memory of a process that runs for long: frames and sessions take what they took at the start."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

import fluxshard
from fluxshard.motion import MotionField

STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
pytestmark = pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc/self/statm")


def resident_bytes() -> int:
    """Of this process, without what it has freed: other tests' memory would be taken for streams otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
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
    image = torch.rand(1, 3, 192, 256)
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


class Deep(nn.Module):
    """A megabyte a layer: 3x3 convolutions, each behind a 1x1, which reads what is not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 32, 1)) for _ in range(4))
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.blocks(self.stem(image))
        return out


SIZE = 128, 192
CELLS = 64 * 96
IMAGES = 3  # that are kept of a level by the image test, and no more than four levels of bytes


@pytest.fixture(scope="module")
def deep() -> fluxshard.CompiledModel:
    torch.manual_seed(0)
    options = fluxshard.CompileOptions(backend="cpp")
    return fluxshard.compile(Deep().eval(), torch.zeros(1, 3, *SIZE), options=options)


def run_all(sessions: list[fluxshard.Session], seed: int, changed: int = 24) -> None:
    """Frames of which a part changes, and then, if asked, a cut."""
    rng = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, *SIZE, generator=rng)
    for number in range(4):
        image[:, :, 8 * number : 8 * number + changed, :64] = torch.rand(1, 3, changed, 64, generator=rng)
        for session in sessions:
            session.run(image)


def resident_per_stream(sessions: list[fluxshard.Session], before: int) -> float:
    gc.collect()
    return (resident_bytes() - before) / len(sessions)


@pytest.mark.parametrize("policy", ["planned", "propagated"])
def test_streams_take_what_they_say(deep: fluxshard.CompiledModel, policy: Literal["planned", "propagated"]) -> None:
    """Resident memory of 12 streams: what is counted, hardly more; parked less, then as before. A cut adds nothing."""
    reuse = fluxshard.ReuseOptions(policy=policy, tau_input=0.01) if policy == "propagated" else None
    with deep.session(reuse) as first:
        run_all([first], 0)
        first.park()
        first.unpark()  # scratch, threads and all that comes with the first use are there now
        gc.collect()
        before = resident_bytes()
        sessions = [deep.session(reuse) for _ in range(12)]
        run_all(sessions, 1)
        stated = sessions[0].state_bytes
        taken = resident_per_stream(sessions, before)
        assert 0.8 * stated < taken < 1.15 * stated + (1 << 18)
        features = 4 * CELLS * 32 * 5
        if policy == "planned":  # the stem, and every 1x1: the 3x3 between them are not kept
            assert features < stated < features + IMAGES * 4 * 3 * (SIZE[0] + 8) * 320 + 30 * CELLS
        run_all(sessions, 2)  # begins with a cut
        assert resident_per_stream(sessions, before) < taken + 0.1 * stated
        assert all(session.state_bytes == stated for session in sessions)
        for session in sessions:
            session.park()
        parked = resident_per_stream(sessions, before)
        assert sessions[0].state_bytes < 0.85 * stated
        assert parked < sessions[0].state_bytes + 0.3 * stated + (1 << 18)  # some of it is Python's, parked or not
        run_all(sessions, 2)
        assert abs(resident_per_stream(sessions, before) - taken) < 0.25 * stated
        for session in sessions:
            session.close()


def test_a_cut_takes_nothing_that_stays(deep: fluxshard.CompiledModel) -> None:
    """Where values are compared, fresh rows wait in scratch that all streams share: however many there are."""
    reuse = fluxshard.ReuseOptions(tau_input=0.0, tau=0.0, scene_cut=1.0)
    with deep.session(reuse) as session:
        run_all([session], 3, changed=8)
        gc.collect()
        before = resident_bytes()
        for seed in range(4, 10):
            run_all([session], seed, changed=96)
        assert resident_per_stream([session], before) < 0.1 * session.state_bytes


def test_explain_says_where_memory_goes(deep: fluxshard.CompiledModel) -> None:
    memory = deep.explain().memory
    assert memory is not None
    with deep.session() as session:
        session.run(torch.rand(1, 3, *SIZE))
        assert sum(memory.planned.values()) == session.state_bytes
    assert memory.planned["features at stride 2"] == 4 * CELLS * 32 * 5 and memory.planned["image test"] > 0
    assert memory.propagated > sum(memory.planned.values()) - memory.planned["image test"]
    text = str(deep.explain())
    assert "features at stride 2" in text and "a frame borrows" in text
    rows = {row.name: row.cache_bytes for row in deep.explain().rows}
    assert sorted(set(rows.values())) == [0, 4 * CELLS * 32]
