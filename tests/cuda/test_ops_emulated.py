"""Every op of a plan as CUDA, run by the emulator, against its definition in torch, on masks of all kinds.

`FLUXSHARD_TEST_SANITIZE=1` compiles the kernels with AddressSanitizer and UndefinedBehaviorSanitizer and puts red zones
between all buffers; test_sanitized.py runs this file so, in a process that has their runtime.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from fluxshard.codegen.cuda.emulate.compiler import detect_emulator
from fluxshard.codegen.cuda.emulate.loader import EmulatedLoader
from fluxshard.codegen.cuda.program import CudaProgram
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.ops.interpret import interpret
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_device import EmulatedDevice
from fluxshard.testing.plan_builder import PlanBuilder
from tests.layers.cases import GROUPS
from tests.layers.checked import check_group

# how products are summed, and how shared memory is filled, differ between these; the rest is the same text
TARGETS = {
    "ffma-f32": (CudaTarget(arch="sm_80"), 2e-5),
    "m16n8k16-f16": (CudaTarget(arch="sm_80", dtype="float16"), 4e-3),
    "m16n8k16-bf16": (CudaTarget(arch="sm_90", dtype="bfloat16"), 3e-2),
    "m16n8k8-f16": (CudaTarget(arch="sm_75", dtype="float16"), 4e-3),
    "ffma-f16": (CudaTarget(arch="sm_72", dtype="float16"), 4e-3),
}
WHOLE = ("ffma-f32", "m16n8k16-f16")  # all groups; the others are run where they differ: in convolutions
CASES = [
    (name, group)
    for name in TARGETS
    for group in GROUPS
    if name in WHOLE or group in ("convolutions", "transposed", "widths")
]
# each way to sum has two groups that are quick, and each of these groups two ways
SLOW = {("m16n8k16-bf16", "transposed"), ("m16n8k8-f16", "widths"), ("ffma-f16", "convolutions")}
SANITIZE = os.environ.get("FLUXSHARD_TEST_SANITIZE") == "1"


def emulated(target: CudaTarget, plan: Plan, weights: dict[str, Tensor], **options: object) -> CudaEngine:
    loader = EmulatedLoader(detect_emulator(sanitize=SANITIZE))
    program = CudaProgram(plan, target, loader, **options)  # type: ignore[arg-type]
    program.prepare_all()
    return CudaEngine(plan, program, weights, EmulatedDevice(loader.poison if SANITIZE else None))


@pytest.mark.parametrize(
    ("name", "group"), [pytest.param(*case, marks=pytest.mark.slow if case in SLOW else ()) for case in CASES]
)
def test_layers_are_their_definitions_on_any_mask(name: str, group: str) -> None:
    target, tolerance = TARGETS[name]
    check_group(group, lambda plan, weights: emulated(target, plan, weights), tolerance)


@pytest.mark.parametrize("name", WHOLE)
def test_a_head_is_its_definition_where_tiles_and_channels_are_not_whole(name: str) -> None:
    """Its island is one kernel: 315 cells, of which the last tile has 27, and 17 channels of three segments."""
    target, tolerance = TARGETS[name]
    b = PlanBuilder(5, 15, 21)
    up = b.add(P.UpsampleNearest(factor=(3, 3)), b.conv("image", 4, (3, 3), stride=(3, 3)))
    wide = b.conv("image", 16, (3, 3), padding=((1, 1), (1, 1)), act=("silu",))
    rows = b.add(P.Cat(), b.add(P.ChannelSlice(start=8, stop=16), wide), up, b.conv(wide, 5))
    plan = b.finish(b.island("shares", "aten.softmax.int", rows, 1, flat=True))
    engine = emulated(target, plan, b.weights)
    assert not engine.program.layout.in_torch
    image = torch.randn(1, 5, 15, 21, generator=torch.Generator().manual_seed(1))
    for frame, found in zip(_frames(image), _run(engine, image), strict=True):
        (expected,) = interpret(plan, b.weights, frame)
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_layers_that_run_in_torch_instead_are_their_definitions() -> None:
    """What a kernel that does not compile leaves behind: its layers between layers that have kernels."""

    def engine(plan: Plan, weights: dict[str, Tensor]) -> CudaEngine:
        layers = [layer for layer in plan.layers if layer.mode == "sparse"]
        return emulated(CudaTarget(arch="sm_80"), plan, weights, dense=frozenset(layer.name for layer in layers[1::3]))

    b = PlanBuilder(5, 15, 21)
    x = b.conv("image", 9, (3, 3), padding=((1, 1), (1, 1)))
    y = b.conv(x, 9, (3, 3), x, padding=((1, 1), (1, 1)), act=("silu",))
    b.add(P.MaxPool2d(kernel=(2, 2), stride=(2, 2)), b.add(P.Cat(), x, y))
    plan = b.finish()
    image = torch.randn(1, 5, 15, 21, generator=torch.Generator().manual_seed(1))
    results = []
    for dense in (frozenset[str](), frozenset({y})):
        made = emulated(CudaTarget(arch="sm_80"), plan, b.weights, dense=dense)
        results.append(_run(made, image))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert engine(plan, b.weights).name == "emulated"


def _run(engine: CudaEngine, image: Tensor) -> list[Tensor]:
    import fluxshard
    from fluxshard.runtime.session import Session
    from fluxshard.runtime.stream import Program

    reuse = fluxshard.ReuseOptions(rfap="per_layer", scene_cut=1.0)
    with Session(lambda _: Program(engine, lambda leaves: leaves), reuse) as session:
        return [session.run(frame)[0] for frame in _frames(image)]


def _frames(image: Tensor) -> tuple[Tensor, ...]:
    moved = image.clone()
    moved[:, :, 4:8, 5:9] += 1
    return image, moved, image
