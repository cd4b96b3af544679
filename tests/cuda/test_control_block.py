"""What the host writes once a frame and once a proposal is what kernels read: every field, where C++ has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fluxshard.codegen.cuda.compile.render import header
from fluxshard.codegen.cuda.launches.control_block import frame_block, input_block
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.launches.memory import CONTROL_BYTES
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.stream_layout import FrameControl, InputControl, StreamLayout
from fluxshard.testing.plan_builder import PlanBuilder
from tests.cuda.emulated import Builder, pack

pytestmark = pytest.mark.requires_compiler
READ = """
  const Control& c = *(const Control*)a.control;
  const long long seen[] = {
    (long long)c.image, (long long)c.motion, (long long)c.motion_valid, c.scene_cut, c.cell_px, c.motion_columns,
    c.keyframe, c.input_fresh, c.parity, (long long)(c.tau_input * 1024), (long long)c.motion_starts,
    (long long)*(const uint64_t*)(a.control + a.after), (long long)sizeof(Control)};
  for (int i = 0; i < 13; ++i) a.out[i] = seen[i];"""


@pytest.fixture(scope="module")
def layout() -> StreamLayout:
    b = PlanBuilder(3, 12, 16)
    b.conv("image", 4)
    return Describer(b.finish(), CudaTarget(arch="sm_80")).memory.layout


def read(directory: Path, block: bytes, after: int) -> list[int]:
    """All fields in order, the number behind them, and the bytes that they take."""
    fields = "const unsigned char* control; long long* out; int after;"
    kernel = Builder(directory)(fields, READ, before="#define FS_TYPE 0\n" + header("cuda/prelude.cuh"))
    words, out = np.frombuffer(block, np.uint64).copy(), np.zeros(13, np.int64)
    kernel.launch(1, 32, 0, pack(words, out, after))
    return [int(number) for number in out]


def test_a_proposal(tmp_path: Path, layout: StreamLayout) -> None:
    numbers = 1 << 40 | 1, 1 << 41 | 2, 1 << 42 | 3, 1 << 43 | 4, 5, 6
    control = InputControl(
        image=numbers[0], motion=numbers[1], motion_valid=numbers[2], scene_cut=numbers[3], cell_px=numbers[4],
        motion_columns=numbers[5], keyframe=True, fresh=False, parity=7, tau=0.125, given=1 << 44 | 8,
        motion_starts=1 << 45 | 9,
    )  # fmt: skip
    block = input_block(layout.input, control)
    assert len(block) == layout.input.control_bytes
    after = layout.input.given.offset - layout.input.control.offset
    *seen, n_bytes = read(tmp_path, block, after)
    assert seen == [*numbers, 1, 0, 7, 128, 1 << 45 | 9, 1 << 44 | 8]
    assert n_bytes <= CONTROL_BYTES == after


def test_a_frame(tmp_path: Path, layout: StreamLayout) -> None:
    control = FrameControl(parity=1, tau=[0.5], work=[1 << 40 | 1], outputs=[1 << 41 | 2])
    block = frame_block(layout, control)
    assert len(block) == layout.control_bytes
    *seen, work, _ = read(tmp_path, block, layout.work.offset - layout.control.offset)
    assert seen == [0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0] and work == 1 << 40 | 1
