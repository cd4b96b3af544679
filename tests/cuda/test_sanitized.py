"""Kernels under AddressSanitizer and UndefinedBehaviorSanitizer, with red zones between all buffers of a stream.

Sanitizers have to be there before anything else is loaded, so everything here runs in processes of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fluxshard.codegen.cuda.emulate.compiler import detect_emulator, sanitizer_environment
from fluxshard.errors import ToolchainError
from tests.cuda.test_ops_emulated import CASES, WHOLE

pytestmark = [pytest.mark.requires_compiler, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]

LAYERS = "test_layers_are_their_definitions_on_any_mask[{}]"
HEAD = "test_a_head_is_its_definition_where_tiles_and_channels_are_not_whole[{}]"
# kernels of every kind, tensor cores and multiply-adds; a process each, as groups share few kernels
FIRST = (
    (LAYERS.format("m16n8k16-f16-convolutions"), HEAD.format("m16n8k16-f16")),
    (
        *map(LAYERS.format, ("m16n8k16-f16-views", "m16n8k16-f16-resampling", "ffma-f32-transposed")),
        HEAD.format("ffma-f32"),
    ),
)
NAMES = [*(LAYERS.format(f"{name}-{group}") for name, group in CASES), *map(HEAD.format, WHOLE)]
REST = sorted(set(NAMES) - {name for names in FIRST for name in names})
PARTS = [*FIRST, *(pytest.param(tuple(REST[i::8]), marks=pytest.mark.slow) for i in range(8))]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    try:
        target = detect_emulator(sanitize=True)
        added = sanitizer_environment(target)
    except ToolchainError as error:
        pytest.skip(str(error))
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "FLUXSHARD_TEST_"))}
    compiler = f"env -u LD_PRELOAD {target.compiler}"  # which is not to be checked itself: that takes a third longer
    return outside | added | {"FLUXSHARD_TEST_SANITIZE": "1", "CXX": compiler}


def title(names: tuple[str, ...]) -> str:
    return f"{names[0].partition('[')[2].rstrip(']')}-and-{len(names) - 1}-more"


@pytest.mark.parametrize("names", PARTS, ids=title)
def test_kernels_touch_only_what_is_theirs(environment: dict[str, str], names: tuple[str, ...]) -> None:
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=900")
    done = subprocess.run(
        [*command, *(f"tests/cuda/test_ops_emulated.py::{name}" for name in names)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1400,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    assert f"{len(names)} passed" in done.stdout


def test_no_case_is_left_out() -> None:
    assert sorted(NAMES) == sorted([*(name for names in FIRST for name in names), *REST])
    assert len(NAMES) == len(set(NAMES)) > 20


# ---- a sanitizer that finds nothing must be able to find something

BROKEN = """
import sys
import torch
from fluxshard.ir.kernel import CudaTarget
from fluxshard.runtime.engines.cuda_inspection import view
from fluxshard.runtime.engines.engine import StepControl
from tests.cuda.test_ops_emulated import emulated
from fluxshard.runtime.reuse.input_cache import InputOptions
from fluxshard.testing.plan_builder import PlanBuilder

builder = PlanBuilder(8, 6, 7)
middle = builder.conv("image", 24)
builder.conv(middle, 8, (3, 3), padding=((1, 1), (1, 1)))
plan = builder.finish()
engine = emulated(CudaTarget(arch="sm_80", dtype=sys.argv[1]), plan, builder.weights)
state = engine.new_state()
cache = engine.new_input_cache(InputOptions(tau=0.0, scene_cut=1.0, mode="assembled", remap=True))
image = torch.rand(1, 8, 6, 7)

def frame(keyframe):
    given = cache.propose(image, None, keyframe=keyframe, given=None)
    cache.commit(given)
    control = StepControl(keyframe=keyframe, rfap="off", remap=True, tau=(0.0,) * len(plan.layers), input=given)
    engine.step(state, image, None, control)

frame(True)
frame(False)
image[0, :, 3, 3] += 1  # its neighbours are read through the map
frame(False)
print("fine so far", flush=True)
store = engine._program.layout.stores[middle]
arena, parity = state.data.arena, state.data.parity
cells = plan.grids[store.grid].cells
entry = view(arena, store.maps[parity].offset, torch.int32, (cells,))[3 * 7 + 2 : 3 * 7 + 3]
assert 0 <= int(entry) < 2 * cells
entry.fill_(2 * cells)
image[0, :, 3, 3] += 1
frame(False)
print("not noticed")
"""


@pytest.mark.parametrize("dtype", ["float16", pytest.param("float32", marks=pytest.mark.slow)])
def test_a_row_beyond_its_buffer_is_noticed(environment: dict[str, str], dtype: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, dtype], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode != 0 and done.stdout == "fine so far\n", f"{done.stdout}\n{done.stderr[-8000:]}"
    assert "AddressSanitizer: use-after-poison" in done.stderr, done.stderr[-8000:]
    assert "READ of size" in done.stderr and " in fs_gemm_" in done.stderr
