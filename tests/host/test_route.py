"""The route of one frame: the rooms that it enters, each once and in order. docs/architecture.md shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import torch
from torch import nn

import fluxshard

ROOMS = ("session", "reuse", "planned", "engines")
RUNTIME = Path(fluxshard.__file__).parent / "runtime"


@contextmanager
def rooms_entered() -> Iterator[list[str]]:
    """The folders of `fluxshard/runtime` whose code is called meanwhile, as they follow each other."""
    seen: list[str] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event != "call" or RUNTIME not in path.parents:
            return
        room = path.relative_to(RUNTIME).parts[0].removesuffix(".py")
        if room in ROOMS and (not seen or seen[-1] != room):
            seen.append(room)

    before: Callable[..., object] | None = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield seen
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize(
    ("reuse", "route"),
    [
        (fluxshard.ReuseOptions(tau_input=0.01), ["session", "reuse", "engines"]),
        (fluxshard.ReuseOptions(policy="planned"), ["session", "planned", "engines"]),
    ],
)
def test_a_frame_enters_each_room_once(reuse: fluxshard.ReuseOptions, route: list[str]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 4, 3, 2, 1)).eval()
    model = fluxshard.compile(net, torch.zeros(1, 3, 32, 48), options=fluxshard.CompileOptions(backend="cpp"))
    motion = fluxshard.MotionField.uniform(32, 48, 0, 4)
    with model.session(reuse) as session:
        for _ in range(2):
            session.run(torch.rand(1, 3, 32, 48), motion)
        with rooms_entered() as seen:
            session.run(torch.rand(1, 3, 32, 48), motion)
    # the session is the caller: it is entered first, and its own helpers may run in between
    assert seen[0] == "session" and list(dict.fromkeys(seen)) == route
    assert [room for room in seen if room != "session"] == route[1:]
