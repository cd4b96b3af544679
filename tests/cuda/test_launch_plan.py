"""What a frame launches: how many kernels, and which grids it plans."""

from __future__ import annotations

import re

import pytest

from benchmarks.plans import load_plan
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.launches.memory import CELLS_PER_BLOCK
from fluxshard.ir.kernel import CudaTarget

PLANNED = Order(planned=True, rfap="compact", remap=True, takes_image=True)
PROPAGATED = Order(planned=False, rfap="compact", remap=True)


def launches(name: str, size: int, order: Order) -> list[Launch]:
    describer = Describer(load_plan(name, size), CudaTarget(arch="sm_90", dtype="float16"))
    return [step for step in describer.order(order) if isinstance(step, Launch)]


@pytest.mark.parametrize(("order", "n"), [(PROPAGATED, 287), (PLANNED, 110)])
def test_a_frame_of_yolo11n_has_as_many_launches_as_the_docs_say(order: Order, n: int) -> None:
    assert len(launches("yolo11n", 640, order)) == n


@pytest.mark.parametrize("size", [640, 1024])
def test_the_image_has_no_cells_to_plan(size: int) -> None:
    """It is three quarters of the cells of all grids, and no value lies on it."""
    plan = load_plan("yolo11n", size)
    grids = [grid for grid in plan.grids if grid.cells < size * size]
    assert len(grids) == len(plan.grids) - 1
    (step,) = (one for one in launches("yolo11n", size, PLANNED) if "plan_candidates" in str(one.kernel))
    assert re.search(rf"plan_candidates<{len(grids)}>", str(step.kernel))
    assert step.blocks == sum(-(-grid.cells // CELLS_PER_BLOCK) for grid in grids)
