"""Frames as captured graphs: when they are captured, that they are replayed, and what happens where they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fluxshard.codegen.cuda.emulate.loader import EmulatedLoader
from fluxshard.codegen.cuda.program import CudaProgram
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ops.interpret import interpret
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_device import EmulatedDevice
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing.plan_builder import PlanBuilder
from fluxshard.testing.session_checks import EXACT

pytestmark = pytest.mark.requires_compiler


@dataclass
class Graph:
    """What a graph does, without a GPU: the same launches, with the arguments that they were captured with."""

    launch: Callable[[], None]
    replays: int = 0
    n_bytes: int = 1000

    def replay(self) -> None:
        self.replays += 1
        self.launch()


class Capturer(EmulatedDevice):
    """An emulator that captures.

    Args:
      refuse: as torch does where an op waits for the device.
    """

    captures = True

    def __init__(self, refuse: bool = False) -> None:
        super().__init__()
        self.refuse = refuse
        self.asked = 0
        self.graphs: list[Graph] = []

    def capture(self, launch: Callable[[], None]) -> Graph:
        self.asked += 1
        if self.refuse:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
        self.graphs.append(Graph(launch))
        return self.graphs[-1]


def _session(device: Capturer) -> tuple[Session, Callable[[Tensor], Tensor]]:
    b = PlanBuilder(3, 12, 16)
    x = b.conv("image", 8, (3, 3), padding=((1, 1), (1, 1)), act=("silu",))
    b.conv(x, 5, (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)))
    plan = b.finish()
    program = CudaProgram(plan, CudaTarget(arch="sm_80"), EmulatedLoader())
    engine = CudaEngine(plan, program, b.weights, device)

    def dense(image: Tensor) -> Tensor:
        (result,) = interpret(plan, b.weights, image)
        assert isinstance(result, Tensor)
        return result

    return Session(lambda _: Program(engine, lambda leaves: leaves[0]), EXACT), dense


def _images(n: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(1, 3, 12, 16, generator=generator) for _ in range(n)]


def test_the_second_frame_of_a_kind_is_captured_and_all_later_ones_replay_it() -> None:
    device = Capturer()
    session, dense = _session(device)
    for image in _images(5):
        torch.testing.assert_close(session.run(image), dense(image), atol=1e-5, rtol=1e-5)
    assert device.asked == 2  # the image, and the layers
    assert [graph.replays for graph in device.graphs] == [4, 4]
    session.reset()  # a keyframe is the same graph: counts are the device's
    image = _images(1)[0]
    torch.testing.assert_close(session.run(image), dense(image), atol=1e-5, rtol=1e-5)
    assert device.asked == 2
    assert [graph.replays for graph in device.graphs] == [5, 5]


def test_what_graphs_keep_is_memory_of_the_session() -> None:
    session, _ = _session(Capturer())
    sizes = []
    for image in _images(4):
        session.run(image)
        sizes.append(session.state_bytes)
    assert sizes[0] > 10000 and [size - sizes[0] for size in sizes] == [0, 2000, 2000, 2000]


def test_what_cannot_be_captured_is_launched_with_a_warning() -> None:
    device = Capturer(refuse=True)
    session, dense = _session(device)
    first, second, *others = _images(4)
    session.run(first)
    with pytest.warns(RuntimeWarning, match=r"cannot be captured.*not permitted when stream is capturing\)"):
        out = session.run(second)
    torch.testing.assert_close(out, dense(second), atol=1e-5, rtol=1e-5)
    for image in others:  # and is not tried again
        torch.testing.assert_close(session.run(image), dense(image), atol=1e-5, rtol=1e-5)
    assert device.asked == 2
