"""Loops in machine code, and the report of matrix products."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

import fluxshard
from fluxshard.codegen.cuda import products as module
from fluxshard.codegen.cuda.compile import sass
from fluxshard.codegen.cuda.compile.nvrtc import Nvrtc
from fluxshard.codegen.cuda.launches.kernels import GemmTile
from fluxshard.codegen.cuda.products import product_report

LISTING = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   IADD3 R2, R2, 0x1, RZ ;
.L_x_2:
        /*0020*/                   LDSM.16.M88.4 R4, [R3] ;
        /*0030*/                   HMMA.16816.F32 R8, R4, R5, R8 ;
        /*0040*/                   HMMA.16816.F32 R9, R4, R6, R9 ;
        /*0050*/              @!P0 BRA `(.L_x_2) ;
.L_x_3:
        /*0060*/                   HMMA.16816.F32 R8, R4, R5, R8 ;
        /*0070*/               @P1 BRA `(.L_x_3) ;
        /*0080*/               @P2 BRA `(.L_x_4) ;
        /*0090*/               @P1 BRA `(.L_x_1) ;
.L_x_4:
        /*00a0*/                   EXIT ;
""".splitlines()


def test_innermost_loops_that_multiply_are_found() -> None:
    first, second = sass.product_loops(LISTING)
    assert (first.instructions, first.products) == (4, 2)
    assert first.names == ("LDSM", "HMMA", "HMMA", "BRA")
    assert (second.instructions, second.products) == (2, 1)
    assert sass.product_loops(LISTING[:3]) == ()


def test_a_loop_belongs_to_the_tile_with_as_many_products() -> None:
    loops = sass.product_loops(LISTING)
    two = GemmTile(bm=32, bn=16, bk=16, stages=2, wm=2, wn=1)
    assert sass.per_depth(loops, two, 16) == 8
    assert sass.per_depth(loops, GemmTile(bm=64, bn=64, bk=16, stages=2, wm=2, wn=1), 16) is None


def test_the_disassembler_is_found_on_the_path_and_beside_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia" / "cu13" / "bin" / "nvdisasm"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho found\n")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    before = sass.find_nvdisasm()
    assert before != str(tool), "it cannot be run"
    tool.chmod(0o755)
    assert sass.find_nvdisasm() in (str(tool), before)
    monkeypatch.setenv("PATH", str(tool.parent) + os.pathsep + "/nowhere")
    assert sass.find_nvdisasm() == str(tool)
    assert sass.disassemble(tmp_path / "any", str(tool)) == ["found"]


@pytest.mark.parametrize(("arch", "rated"), [("sm_90", True), ("sm_80", False)])
def test_the_report_of_products(nvrtc: Nvrtc, arch: str, rated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sass, "find_nvdisasm", lambda: None)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(16, 24, 3, padding=1)).eval()
    options = fluxshard.CompileOptions(backend="reference")
    model = fluxshard.compile(net, torch.zeros(1, 3, 32, 48), options=options)
    report = product_report(model.explain(target=f"cuda:{arch}", dtype="float16"))
    assert [row.launches for row in report.rows] == [1, 1]
    assert all(row.per_multiprocessor >= 2 and row.instructions == () for row in report.rows)
    head, rule, *lines, total, empty, counted, uncounted, note = str(report).splitlines()
    assert head.split() == [
        "matrix", "product", "launches", "instructions", "blocks/SM", "waves",
        "us", "100%", "us", "25%", "us", "5%", "us", "0%",
    ]  # fmt: skip
    assert rule == "-" * len(head) and empty == "" and len(lines) == 2 and total.startswith("all")
    assert "nvdisasm" in uncounted and "per warp and 32 of the depth" in counted
    if rated:
        assert "not measured" in note and all(row.waves == (1, 1, 1, 0) for row in report.rows)
        whole, *_, none = report.us
        assert 0 < none < whole and f"{whole:.0f}" in total
    else:
        assert "no model of time" in note and report.us == () and lines[0].split()[-1] == "-"
