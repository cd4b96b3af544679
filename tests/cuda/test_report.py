"""What `explain(target="cuda:...")` says of the kernels of a model, without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import fluxshard
from fluxshard.codegen.cuda.compile.cubin import Cubin
from fluxshard.codegen.cuda.compile.nvrtc import Nvrtc
from fluxshard.codegen.cuda.compile.resources import Resources
from fluxshard.codegen.cuda.report import KernelReport, KernelRow, kernel_report, parse_arch
from fluxshard.errors import OptionError, StateError, ToolchainError
from fluxshard.ir.kernel import CUDA_ARCHES, CudaTarget
from fluxshard.testing.plan_builder import PlanBuilder


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Softmax(1),
    ).eval()  # fmt: skip


def model() -> fluxshard.CompiledModel:
    options = fluxshard.CompileOptions(backend="reference")
    return fluxshard.compile(net(), torch.zeros(1, 3, 32, 48), options=options)


def cells(line: str) -> list[str]:
    return line.split(maxsplit=6)


@pytest.mark.parametrize("arch", ["sm_90", "sm_80"])
def test_explain_says_what_each_kernel_needs(nvrtc: Nvrtc, arch: str) -> None:
    compiled = model()
    report = compiled.explain(target=f"cuda:{arch}")
    assert isinstance(report, KernelReport) and report.plan is compiled.plan
    assert report.target == CudaTarget(arch=arch)
    head, rule, *lines, empty, foot = str(report).splitlines()
    assert head.split("  ")[0] == "kernel"
    assert [part.strip() for part in head.split("  ") if part.strip()] == [
        "kernel", "threads", "registers", "shared B", "spills B", "cubin kB", "layers",
    ]  # fmt: skip
    assert rule == "-" * len(head) and empty == ""
    assert len(lines) == len(report.rows) > 10
    for row, line in zip(report.rows, lines, strict=True):
        name, threads, registers, shared, spills, kilobytes, *layers = cells(line)
        resources = row.cubin.resources
        assert (name, int(threads), int(registers)) == (row.name, row.threads, resources.registers)
        assert 0 < resources.registers <= 255 and row.threads in (128, 256)
        assert int(shared) == row.dynamic_bytes + resources.shared_bytes
        assert int(spills) == resources.spill_store_bytes + resources.spill_load_bytes == 0
        assert int(kilobytes) == round(len(row.cubin.code) / 1e3)
        assert "".join(layers).startswith(", ".join(row.layers[:3]))
        assert bool(layers) == bool(row.layers)
        assert row.cubin.code.startswith(b"\x7fELF")
    assert foot == f"Sequential for {arch}, float32 (ffma): {len(lines)} kernels, 0 of them spill"
    by_kind = {row.name.split("_")[1]: row for row in report.rows}
    assert by_kind["gemm"].dynamic_bytes > 8192 and by_kind["begin"].dynamic_bytes == 0
    sparse = {layer.name for layer in compiled.plan.layers if layer.mode == "sparse"}
    assert sparse <= {layer for row in report.rows for layer in row.layers}


def test_a_kernel_of_several_layers_is_one_row(nvrtc: Nvrtc) -> None:
    b = PlanBuilder(8, 10, 12)
    x = "image"
    names = [x := b.conv(x, 8, (3, 3), padding=((1, 1), (1, 1))) for _ in range(5)]
    report = kernel_report(b.finish(), "sm_80", "float16")
    (row,) = [row for row in report.rows if row.name.startswith("fs_gemm_")]
    assert row.layers == tuple(names)
    (line,) = [line for line in str(report).splitlines() if line.startswith(row.name)]
    assert line.endswith(f"  {', '.join(names[:3])} and 2 more")
    assert str(report).endswith("kernels, 0 of them spill") and "float16 (m16n8k16)" in str(report)


def test_kernels_that_spill_are_named() -> None:
    def row(name: str, **resources: int) -> KernelRow:
        return KernelRow(name, Cubin(b"\0" * 1600, Path("kernel.cubin"), Resources(**resources)), 256, 1024, ("a",))

    plan = PlanBuilder(3, 4, 4)
    plan.conv("image", 4)
    rows = (
        row("fs_good", registers=40, shared_bytes=16),
        row("fs_bad", registers=255, spill_store_bytes=8, spill_load_bytes=4),
    )
    report = KernelReport(plan.finish(), CudaTarget(arch="sm_75"), rows)
    assert report.spilled == rows[1:]
    _, _, good, bad, _, foot = str(report).splitlines()
    assert cells(good) == ["fs_good", "256", "40", "1040", "0", "2", "a"]
    assert cells(bad) == ["fs_bad", "256", "255", "1024", "12", "2", "a"]
    assert foot == "Hand for sm_75, float32 (ffma): 2 kernels, 1 of them spill"


@pytest.mark.parametrize(
    "target", ["cpu", "cuda", "cuda:0", "cuda:1", "sm_90", "cuda:sm_91", "cuda:sm_9", "CUDA:sm_90", "cuda:sm_90\n", ""]
)
def test_other_targets_are_refused_with_those_that_are_allowed(target: str) -> None:
    allowed = ", ".join(f"cuda:{arch}" for arch in CUDA_ARCHES)
    with pytest.raises(OptionError) as seen:
        model().explain(target=target)
    assert str(seen.value) == f"target (={target!r}) must be one of {allowed}"


def test_every_architecture_is_a_target() -> None:
    assert [parse_arch(f"cuda:{arch}") for arch in CUDA_ARCHES] == list(CUDA_ARCHES)


def test_an_architecture_that_the_compiler_does_not_have(nvrtc: Nvrtc) -> None:
    unknown = [arch for arch in CUDA_ARCHES if int(arch[3:]) not in nvrtc.arches]
    if not unknown:
        pytest.skip(f"{nvrtc.identity} has all architectures")
    with pytest.raises(ToolchainError, match=f"does not compile for {unknown[0]}"):
        model().explain(target=f"cuda:{unknown[0]}")


def test_nothing_is_reported_before_a_size_is_known(nvrtc: Nvrtc) -> None:
    compiled = fluxshard.compile(net(), options=fluxshard.CompileOptions(backend="reference"))
    with pytest.raises(StateError, match="not compiled for any size"):
        compiled.explain(target="cuda:sm_80")
    report = compiled.explain((1, 3, 16, 16), target="cuda:sm_80")
    assert isinstance(report, KernelReport) and report.plan.image_size == (16, 16)
