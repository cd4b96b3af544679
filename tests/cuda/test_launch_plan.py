"""What a frame launches: how many kernels, and which grids it plans."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from benchmarks.plans import load_plan
from fluxshard.codegen.cpp.image_test import image_test_params
from fluxshard.codegen.cuda.image_test import CudaImageTestProgram
from fluxshard.codegen.cuda.launches.kernels import Kernel, Lanes
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.launches.memory import CELLS_PER_BLOCK
from fluxshard.codegen.cuda.program import Loaded
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.stream_layout import TorchCall
from fluxshard.options import DType, PlannedOptions
from fluxshard.runtime.planned.levels import levels_of

PLANNED = Order(planned=True, rfap="compact", remap=True, takes_image=True)
PROPAGATED = Order(planned=False, rfap="compact", remap=True)


def launches(name: str, size: int, order: Order) -> list[Launch]:
    describer = Describer(load_plan(name, size), CudaTarget(arch="sm_90", dtype="float16"))
    return [step for step in describer.order(order) if isinstance(step, Launch)]


@pytest.mark.parametrize(("order", "n"), [(PROPAGATED, 282), (PLANNED, 105)])
def test_a_frame_of_yolo11n_has_as_many_launches_as_the_docs_say(order: Order, n: int) -> None:
    assert len(launches("yolo11n", 640, order)) == n


@pytest.mark.parametrize("order", [PROPAGATED, PLANNED])
def test_torch_is_called_for_attention_alone(order: Order) -> None:
    steps = Describer(load_plan("yolo11n", 640), CudaTarget(arch="sm_90", dtype="float16")).order(order)
    assert [step for step in steps if isinstance(step, TorchCall)] == [TorchCall(layer="island_0")]
    last = steps[-1]
    assert isinstance(last, Launch) and isinstance(last.kernel, Lanes), "boxes are decoded by a kernel of ours"


@pytest.mark.parametrize(("dtype", "mib"), [("float32", 185), ("float16", 114)])
def test_a_stream_of_yolo11n_takes_as_much_memory_as_the_docs_say(dtype: DType, mib: int) -> None:
    memory = Describer(load_plan("yolo11n", 640), CudaTarget(arch="sm_90", dtype=dtype)).memory
    assert round((memory.state.size + memory.inputs.size) / 2**20) == mib


@pytest.mark.parametrize(("size", "kb", "mib"), [(640, 21, 18), (1024, 54, 45)])
def test_the_image_test_has_as_many_launches_and_as_much_memory_as_the_docs_say(size: int, kb: int, mib: int) -> None:
    class Unloaded:
        def load(self, kernels: Mapping[str, tuple[Kernel, int]]) -> dict[str, Loaded]:
            return {}

    plan = load_plan("yolo11n", size)
    levels = levels_of(plan, PlannedOptions())
    params = image_test_params(plan.grids[0], 3, levels, plan.grids)
    program = CudaImageTestProgram(params, len(plan.grids), Unloaded())
    assert {kind: len(steps) for kind, steps in program.launches.items()} == {"propose": 6, "commit": 1, "keyframe": 2}
    assert round(program.proposed.head_bytes / 1e3) == kb and round(program.size / 2**20) == mib


@pytest.mark.parametrize("size", [640, 1024])
def test_the_image_has_no_cells_to_plan(size: int) -> None:
    """It is three quarters of the cells of all grids, and no value lies on it."""
    plan = load_plan("yolo11n", size)
    grids = [grid for grid in plan.grids if grid.cells < size * size]
    assert len(grids) == len(plan.grids) - 1
    (step,) = (one for one in launches("yolo11n", size, PLANNED) if "plan_candidates" in str(one.kernel))
    assert re.search(rf"plan_candidates<{len(grids)}>", str(step.kernel))
    assert step.blocks == sum(-(-grid.cells // CELLS_PER_BLOCK) for grid in grids)
