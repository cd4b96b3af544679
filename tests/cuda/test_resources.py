"""Resources of kernels, as several versions of ptxas report them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fluxshard.codegen.cuda.compile.nvrtc import Nvrtc
from fluxshard.codegen.cuda.compile.resources import Resources, parse_ptxas

# what the versions printed of one text, from which fillers are left out
NVRTC_11_8 = """\
ptxas warning : Value of threads per SM for entry spill is out of range. .minnctapersm will be ignored
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'spill' for 'sm_86'
ptxas info    : Function properties for spill
ptxas         .     104 bytes stack frame, 172 bytes spill stores, 196 bytes spill loads
ptxas info    : Used 64 registers, 1964 bytes cmem[0]
ptxas info    : Compiling entry function 'plain' for 'sm_86'
ptxas info    : Function properties for plain
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, 360 bytes cmem[0], 8 bytes cmem[2]
ptxas info    : Compiling entry function 'k' for 'sm_86'
ptxas info    : Function properties for k
ptxas         .     256 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 35 registers, 2048 bytes smem, 368 bytes cmem[0]
ptxas info    : Function properties for _Z6helperf
ptxas         .     512 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
"""
NVRTC_12_9 = """\
nvrtc: warning: Architectures prior to '<compute/sm>_75' are deprecated and may be removed in a future release
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'spill' for 'sm_72'
ptxas info    : Function properties for spill
ptxas         .     336 bytes stack frame, 740 bytes spill stores, 764 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 336 bytes cumulative stack size, 1964 bytes cmem[0]
ptxas info    : Compile time = 20.578 ms
ptxas info    : Compiling entry function 'k' for 'sm_72'
ptxas info    : Function properties for k
ptxas         .     256 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 31 registers, used 1 barriers, 260 bytes cumulative stack size, 2048 bytes smem, 368 bytes cmem[0]
ptxas info    : Compile time = 4.342 ms
ptxas info    : Function properties for _Z6helperf
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
"""
NVRTC_13_5 = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'spill' for 'sm_90'
ptxas info    : Function properties for spill
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers
ptxas info    : Compile time = 38.734 ms
ptxas info    : Compiling entry function 'k' for 'sm_90'
ptxas info    : Function properties for k
ptxas         .     256 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers, 256 bytes cumulative stack size, 2048 bytes smem
ptxas info    : Compile time = 5.443 ms
"""
NVCC_13_0 = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'plain' for 'sm_87'
ptxas info    : Function properties for plain
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 1 barriers, 256 bytes smem, 360 bytes cmem[0]
ptxas info    : Compile time = 10.832 ms
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (
            NVRTC_11_8,
            {
                "spill": Resources(
                    registers=64, stack_bytes=104, spill_store_bytes=172, spill_load_bytes=196, constant_bytes=1964
                ),
                "plain": Resources(registers=8, constant_bytes=368),
                "k": Resources(registers=35, stack_bytes=256, shared_bytes=2048, constant_bytes=368),
            },
        ),
        (
            NVRTC_12_9,
            {
                "spill": Resources(
                    registers=32, stack_bytes=336, spill_store_bytes=740, spill_load_bytes=764, constant_bytes=1964,
                    barriers=1,
                ),
                "k": Resources(registers=31, stack_bytes=260, shared_bytes=2048, constant_bytes=368, barriers=1),
            },
        ),
        (
            NVRTC_13_5,
            {
                "spill": Resources(registers=32, barriers=1),
                "k": Resources(registers=30, stack_bytes=256, shared_bytes=2048, barriers=1),
            },
        ),
        (NVCC_13_0, {"plain": Resources(registers=10, shared_bytes=256, constant_bytes=360, barriers=1)}),
        ("", {}),
        ("nvrtc: error: invalid value for --gpu-architecture (-arch)", {}),
        ("ptxas info    : Used 12 registers", {}),  # of nobody
    ],
    ids=["11.8", "12.9", "13.5", "nvcc 13.0", "nothing", "an error", "no name"],
)  # fmt: skip
def test_versions_of_ptxas(log: str, expected: dict[str, Resources]) -> None:
    assert parse_ptxas(log) == expected


def test_a_report_in_another_order_or_with_more_in_it_is_read() -> None:
    log = NVRTC_12_9.replace("Used 31 registers, used 1 barriers,", "used 2 barriers, 7 bytes tmem, 31 registers used,")
    assert parse_ptxas(log)["k"] == replace(parse_ptxas(NVRTC_12_9)["k"], barriers=2)


def test_what_spills() -> None:
    assert [name for name, of in parse_ptxas(NVRTC_11_8).items() if of.spills] == ["spill"]
    assert Resources(spill_load_bytes=4).spills and not Resources().spills


def test_the_installed_version(nvrtc: Nvrtc) -> None:
    text = """
    extern "C" __global__ void __launch_bounds__(256) shares(float* p) {
      __shared__ float part[256];
      part[threadIdx.x] = p[threadIdx.x];
      __syncthreads();
      p[threadIdx.x] = part[threadIdx.x ^ 1];
    }
    extern "C" __global__ void __launch_bounds__(1024) spills(float* p, int n) {
      float v[80];
      for (int i = 0; i < 80; ++i) v[i] = p[i * n];
      __syncthreads();
      for (int r = 0; r < n; ++r)
        for (int i = 0; i < 80; ++i) v[i] = v[i] * v[(i + 7) % 80] + p[i + r];
      for (int i = 0; i < 80; ++i) p[i] = v[i];
    }"""
    found = parse_ptxas(nvrtc.compile_cubin(text, "two.cu", "sm_86")[1])
    assert set(found) == {"shares", "spills"}
    shares, spills = found["shares"], found["spills"]
    assert 0 < shares.registers <= 255 and shares.shared_bytes == 1024 and shares.barriers == 1 and not shares.spills
    assert shares.constant_bytes >= 8 and shares.stack_bytes == 0
    assert spills.registers == 64 and spills.spills and spills.stack_bytes > 0 and spills.shared_bytes == 0
