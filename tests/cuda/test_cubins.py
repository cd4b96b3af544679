"""Kernels of whole detectors as machine code: they compile for every architecture, fit it, and GEMMs keep their sums in
registers. The plans that they come from are read without the library that defines the detectors.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.plans import NAMES, SIZES, load_plan, seeded_weights
from fluxshard.codegen.cpp.image_test import image_test_params
from fluxshard.codegen.cuda.compile import sass
from fluxshard.codegen.cuda.compile.cubin import Job, compile_many, get_or_build_cubin
from fluxshard.codegen.cuda.compile.nvrtc import Nvrtc
from fluxshard.codegen.cuda.compile.render import render_kernel
from fluxshard.codegen.cuda.image_test import CudaImageTestProgram
from fluxshard.codegen.cuda.launches.kernels import Finish, Gemm, Inputs, Kernel, name_of
from fluxshard.codegen.cuda.launches.tiles import Problem, candidates
from fluxshard.codegen.cuda.program import Loaded
from fluxshard.codegen.cuda.report import kernel_report
from fluxshard.ir.kernel import CUDA_ARCHES, CudaTarget
from fluxshard.ir.verify import verify
from fluxshard.options import DType, PlannedOptions
from fluxshard.runtime.planned.levels import levels_of

ROOT = Path(__file__).resolve().parents[2]
REGISTERS = 65536  # of a multiprocessor, on every architecture that we generate for
ARCHES = ("sm_75", "sm_80", "sm_90")  # the others are slow tests
CASES: list[tuple[str, int, str, DType]] = [
    *((name, 640, arch, "float16") for name in NAMES for arch in ARCHES),
    ("yolo11n", 640, "sm_80", "float32"),
    ("yolo11n", 640, "sm_90", "bfloat16"),
]
# detectors and sizes that need all kernels of the others, on every architecture
SIZES_AND_TYPES: list[tuple[int, DType]] = [
    (640, "float16"), (1024, "float16"), (640, "float32"), (640, "bfloat16"),
]  # fmt: skip
EVERYWHERE = [
    (name, size, arch, dtype)
    for arch in CUDA_ARCHES
    for name in ("yolo11n-seg", "yolo11m")
    for size, dtype in SIZES_AND_TYPES
    if (name, size, arch, dtype) not in CASES
]


@pytest.mark.parametrize(
    ("name", "size", "arch", "dtype"),
    [*CASES, *(pytest.param(*case, marks=(pytest.mark.slow, pytest.mark.timeout(1200))) for case in EVERYWHERE)],
)
def test_every_kernel_compiles_and_no_gemm_spills(
    nvrtc: Nvrtc, name: str, size: int, arch: str, dtype: DType
) -> None:  # fmt: skip
    if int(arch.removeprefix("sm_")) not in nvrtc.arches:
        pytest.skip(f"{nvrtc.identity} does not compile for {arch}")
    report = kernel_report(load_plan(name, size), arch, dtype)
    gemms = [row for row in report.rows if row.name.startswith("fs_gemm_")]
    assert len(gemms) > 35 and len(report.rows) > len(gemms) + 20
    assert not [row.name for row in report.spilled if row in gemms], f"\n{report}"
    for row in report.rows:
        resources = row.cubin.resources
        assert 2 * row.threads * resources.registers <= REGISTERS, f"{row.name}: two blocks do not fit\n{report}"
        assert row.dynamic_bytes + resources.shared_bytes <= report.target.shared_bytes, f"{row.name}\n{report}"


class Texts:
    """A loader that notes kernels and loads none."""

    def __init__(self) -> None:
        self.kernels: dict[str, tuple[Kernel, int]] = {}

    def load(self, kernels: Mapping[str, tuple[Kernel, int]]) -> dict[str, Loaded]:
        self.kernels |= kernels
        return {}


@pytest.mark.parametrize("size", [SIZES[0], *(pytest.param(size, marks=pytest.mark.slow) for size in SIZES[1:])])
@pytest.mark.parametrize("arch", CUDA_ARCHES)
def test_kernels_of_the_image_test_compile(nvrtc: Nvrtc, arch: str, size: int) -> None:
    if int(arch.removeprefix("sm_")) not in nvrtc.arches:
        pytest.skip(f"{nvrtc.identity} does not compile for {arch}")
    plan, texts = load_plan("yolo11n", size), Texts()
    levels = levels_of(plan, PlannedOptions())
    CudaImageTestProgram(image_test_params(plan.grids[0], 3, levels, plan.grids), len(plan.grids), texts)
    jobs = [Job(name=name, text=render_kernel(*kernel), arch=arch) for name, kernel in texts.kernels.items()]
    assert len(jobs) == 8
    for job, cubin in zip(jobs, compile_many(jobs), strict=True):
        assert not cubin.resources.spills, job.name
        assert 4 * 256 * cubin.resources.registers <= REGISTERS, f"{job.name}: {cubin.resources}"


# ---- how long the loops of sums are, in machine code

ARGS_BYTES = 256  # of a product of one segment without a residual
SEGMENT_BYTES = 40  # of each other segment
# tile -> most instructions per warp and 32 of the depth
MOST_INSTRUCTIONS = {(128, 128): 148, (64, 64): 109, (64, 16): 91}


@pytest.mark.parametrize(("bm", "bn"), MOST_INSTRUCTIONS)
@pytest.mark.parametrize(("counts", "taps"), [((128,), 3), ((64, 64), 1), ((64, 64, 64), 1)])
def test_the_loop_of_a_product_is_short(nvrtc: Nvrtc, counts: tuple[int, ...], taps: int, bm: int, bn: int) -> None:
    tool = sass.find_nvdisasm()
    if tool is None:
        pytest.skip(f"no nvdisasm: {sass.TOOL_ADVICE}")
    if 90 not in nvrtc.arches:
        pytest.skip(f"{nvrtc.identity} does not compile for sm_90")
    inputs, finish = Inputs(counts=counts, vec=8), Finish(channels=256, act="SILU", bias=True)
    problem = Problem((taps, taps), inputs, finish, 65536)
    target = CudaTarget(arch="sm_90", dtype="float16")
    tile = next(one for one in candidates(target, problem) if (one.bm, one.bn) == (bm, bn))
    kernel = Gemm(dtype="float16", math=target.math, tile=tile, taps_y=taps, taps_x=taps, inputs=inputs, finish=finish)
    args_bytes = ARGS_BYTES + SEGMENT_BYTES * (len(counts) - 1)
    cubin = get_or_build_cubin(name_of(kernel), render_kernel(kernel, args_bytes), {}, "sm_90")
    loops = sass.product_loops(sass.disassemble(cubin.path, tool))
    found = [sass.per_depth(loops, shape, tile.bk) for shape in tile.shapes]
    assert None not in found, "a tile has no loop of its own"
    assert found[0] is not None and found[0] <= MOST_INSTRUCTIONS[bm, bn]
    assert not cubin.resources.spills


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_stored_plans_are_plans(name: str, size: int) -> None:
    plan = load_plan(name, size)
    verify(plan)
    assert plan.image_size == (size, size)
    assert {layer.op for layer in plan.layers} >= {"conv2d", "max_pool2d", "upsample_nearest", "cat", "island"}


def test_stored_plans_are_what_the_library_gives_now() -> None:
    pytest.importorskip("ultralytics", reason="needs the ultralytics package")
    from benchmarks.plans import describe

    found = describe("yolo11n", 640).to_text()
    assert found == load_plan("yolo11n", 640).to_text(), "run python -m benchmarks.plans and look at what changed"


def test_weights_are_the_same_on_every_machine() -> None:
    weights = seeded_weights(load_plan("yolo11n", 640))
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in weights.values())).hexdigest()
    assert digest[:16] == "72701fb4fdaf1c60"


def test_a_plan_runs_without_the_library_that_defines_it() -> None:
    code = """
import sys
for name in ("ultralytics", "torchvision", "jinja2", "av", "matplotlib", "PIL", "rich", "typer"):
    sys.modules[name] = None
import torch
from benchmarks.plans import load_plan, seeded_weights
from fluxshard.ops.interpret import interpret
plan = load_plan("yolo11n", 640)
image = torch.rand(1, 3, 640, 640, generator=torch.Generator().manual_seed(1))
(boxes,) = interpret(plan, seeded_weights(plan), image)
classes = boxes[:, 4:]
print(tuple(boxes.shape), bool(boxes.isfinite().all()), float(boxes[:, :4].std()), float(classes.std()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *head, boxes, classes = done.stdout.rsplit(maxsplit=2)
    assert head == ["(1, 84, 8400) True"]
    assert float(boxes) > 10 and 0.02 < float(classes) < 0.5, "neither constant nor saturated"
