"""The emulator: what CUDA forbids, races, and what the sanitizers see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fluxshard.codegen.cuda.emulate.compiler import (
    EmulatedKernel,
    build_emulated,
    compile_into,
    detect_emulator,
    emulator_order,
    sanitizer_environment,
)
from fluxshard.errors import CompileError, KernelError, OptionError, ToolchainError
from tests.cuda.emulated import HEADERS, ORDERS, REDUCE, Builder, pack, unit

pytestmark = pytest.mark.requires_compiler

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


# ---- what CUDA forbids

DIVERGENT = (
    (
        "if (t < 40) __syncthreads();",
        ": divergent barrier: threads 0-39 wait at __syncthreads in line 5, threads 40-63 have",
    ),
    (
        "if (t % 2) __syncthreads(); else __syncthreads_or(t);",
        "threads 0,2,4,6 ... wait at __syncthreads_or in line 5, ",
    ),
    (
        "if (t < 32) __syncthreads();\nelse __syncthreads();",
        "threads 0-31 wait at __syncthreads in line 5, .* in line 6",
    ),
    (
        "if (t % 32 < 16) __shfl_xor_sync(~0u, t, 1);",
        ", warp .: .*: threads .*-.* wait at __shfl_xor_sync in line 5, threads",
    ),
    (
        "if (t == 35) return; __ballot_sync(~0u, 1);",
        ", warp 1: divergent warp operation: threads 32-34,36-63 wait at __bal",
    ),
    (
        "if (t == 35) return; __ballot_sync(~0u, 1);",
        ", threads 35 have exited; all lanes of a warp must reach the same",
    ),
    (
        "if (t == 63) __syncwarp(); __syncthreads();",
        "threads 32-62 wait at __syncthreads in line 5, threads 63 wait at __sync",
    ),
    ("if (t & 1) __any_sync(~0u, 1); else __all_sync(~0u, 1);", " wait at __all_sync in line 5, .* wait at __any_sync"),
    (
        "if (t < 16) __shfl_sync(0xffffu, t, 0);",
        "thread .*: __shfl_sync in line 5 has mask 0x0000ffff and width 32; only",
    ),
    (
        "__shfl_down_sync(~0u, t, 1, 16);",
        "__shfl_down_sync in line 5 has mask 0xffffffff and width 16; only whole warps",
    ),
    (
        "float c[4] = {}; unsigned f[4] = {}; if (t > 32) fs_mma_f16(c, f, f);",
        "threads 33-63 wait at fs_mma_f16 in line 5",
    ),
)


def test_divergence_is_an_error_that_says_who_waits_where(build: Builder) -> None:
    bodies = [text for text, _ in DIVERGENT]
    cases = "".join(f"\ncase {i}: {{\n#line 5\n{text}\nbreak; }}" for i, text in enumerate(bodies))
    body = f"const int t = threadIdx.x; switch (a.mode) {{{cases}\ndefault: __syncthreads(); a.out[t] = t; }}"
    for order in ORDERS:
        kernel = build("int* out; int mode;", body, order=order)
        for mode, (_, message) in enumerate(DIVERGENT):
            with pytest.raises(KernelError, match=f"^kernel k, block 0.*{message}"):
                kernel.launch(1, 64, 0, pack(np.zeros(64, np.int32), mode))
        out = np.zeros(64, np.int32)
        kernel.launch(1, 64, 0, pack(out, 99))
        assert (out == np.arange(64)).all()


def test_an_error_stops_the_other_blocks(build: Builder) -> None:
    body = "atomicAdd(a.count, 1); if (blockIdx.x == 5 && threadIdx.x == 0) return; __syncthreads();"
    kernel = build("int* count;", body, order="forward")
    count = np.zeros(1, np.int32)
    with pytest.raises(
        KernelError, match="kernel k, block 5: divergent barrier: threads 0 have exited, threads 1-31 wait"
    ):
        kernel.launch(1_000_000, 32, 0, pack(count))
    assert 6 * 32 <= count[0] < 1_000_000


def test_launches_that_no_device_takes(build: Builder) -> None:
    kernel = build("int* v;", "")
    for blocks, threads, shared, message in (
        (1, 33, 0, "kernel k, 33 threads in a block: they must be 32 to 1024, a multiple of 32"),
        (1, 0, 0, "0 threads"),
        (1, 1056, 0, "1056 threads"),
        (0, 32, 0, "0 blocks"),
        (1, 32, 300_000, "300000 bytes of dynamic shared memory: no device has more than 232448"),
    ):
        with pytest.raises(KernelError, match=message):
            kernel.launch(blocks, threads, shared, bytes(8))
    with pytest.raises(KernelError, match="kernel k takes an argument of 8 bytes, not 12"):
        kernel.launch(1, 32, 0, bytes(12))


# ---- shared memory and order


@pytest.mark.parametrize("index", [-1, 64, 80])
def test_writing_outside_of_dynamic_shared_memory_is_an_error(build: Builder, index: int) -> None:
    kernel = build("int at;", "FS_SHARED(int, s); s[threadIdx.x == 5 ? a.at : (int)threadIdx.x] = 7;")
    with pytest.raises(
        KernelError, match=r"kernel k, block .: writes outside of its 256 bytes of dynamic shared memory"
    ):
        kernel.launch(3, 64, 256, pack(index))
    kernel.launch(3, 64, 256, pack(63))


def test_shared_memory_starts_unwritten_in_every_block(build: Builder) -> None:
    kernel = build(
        "float* out;",
        """
        FS_SHARED(float, s);
        a.out[blockIdx.x * 64 + threadIdx.x] = fill<int>()[threadIdx.x % 8] == -1 ? s[threadIdx.x] : 0.0f;
        __syncthreads();
        s[threadIdx.x] = fill<int>()[threadIdx.x % 8] = 1;""",
        before="template <class T> __device__ T* fill() { __shared__ T x[8]; return x; }",
    )
    larger = build(  # a function of the same name with more shared memory is another one
        "int* out;",
        "fill<int>()[threadIdx.x] = threadIdx.x; __syncthreads(); a.out[threadIdx.x] = fill<int>()[63 - threadIdx.x];",
        before="template <class T> __device__ T* fill() { __shared__ T x[64]; return x; }",
    )
    for _ in range(3):
        out, reverse = np.zeros(40 * 64, np.float32), np.zeros(64, np.int32)
        kernel.launch(40, 64, 256, pack(out))
        larger.launch(1, 64, 0, pack(reverse))
        assert np.isnan(out).all()
        assert (reverse == np.arange(64)[::-1]).all()


NEIGHBOURS = """
  __shared__ int x[128];
  const int t = threadIdx.x;
  x[t] = a.v[t];
  SYNC
  a.out[t] = x[t ^ a.other];"""


@pytest.mark.parametrize("other", [1, 16, 32, 96])
def test_a_missing_barrier_shows_in_some_order(build: Builder, rng: np.random.Generator, other: int) -> None:
    v, expected = rng.integers(0, 99, 128).astype(np.int32), np.zeros(0)
    expected = v[np.arange(128) ^ other]
    for barrier in ("__syncthreads();", ""):
        right = []
        for order in ORDERS:
            kernel, out = (
                build("const int* v; int *out, other;", NEIGHBOURS.replace("SYNC", barrier), order=order),
                np.zeros_like(v),
            )
            kernel.launch(1, 128, 0, pack(v, out, other))
            right.append((out == expected).all())
        assert all(right) == bool(barrier)


def test_threads_and_blocks_run_in_the_order_that_is_asked_for(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "for (int i = 0; i < 2; ++i) { a.out[*a.n] = threadIdx.x; ++*a.n; __syncthreads(); }"
    up, down = list(range(64)), list(range(63, -1, -1))
    for order, expected in (("forward", up + up), ("reverse", down + down), ("alternate", up + down)):
        monkeypatch.setenv("FLUXSHARD_EMULATOR_ORDER", order)
        out, n = np.zeros(128, np.int32), np.zeros(1, np.int32)
        build("int *out, *n;", body).launch(1, 64, 0, pack(out, n))
        assert out.tolist() == expected
        assert detect_emulator().order == emulator_order() == order
    monkeypatch.setenv("FLUXSHARD_EMULATOR_ORDER", "sideways")
    with pytest.raises(
        OptionError, match=r"FLUXSHARD_EMULATOR_ORDER .*'sideways'.* must be one of forward, reverse, alternate"
    ):
        detect_emulator()


def test_threads_of_the_host_launch_at_once(build: Builder, rng: np.random.Generator) -> None:
    kernel = build("const int* v; int* out; int n;", REDUCE)
    v, outs = rng.integers(-99, 99, (30, 99)).astype(np.int32), [np.zeros(30, np.int32) for _ in range(6)]

    def work(out: NDArray[np.int32]) -> None:
        for _ in range(20):
            kernel.launch(30, 128, 0, pack(v, out, 99))

    threads = [threading.Thread(target=work, args=(out,)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((out == v.sum(1)).all() for out in outs)


# ---- compilers and sanitizers


def test_what_the_compiler_refuses_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = detect_emulator()
    with pytest.raises(CompileError, match=r"failed on generated code .*; source kept in") as caught:
        build_emulated(unit("int n;", "nonsense;"), "k", target, HEADERS)
    assert caught.value.source_path is not None and caught.value.source_path.exists()
    (tmp_path / "k.so").write_bytes(build_emulated(unit("int* v;", "a.v[threadIdx.x] = 1;"), "k", target, HEADERS))
    v = np.zeros(32, np.int32)
    EmulatedKernel(tmp_path / "k.so", "k").launch(1, 32, 0, pack(v))
    assert (v == 1).all()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        ToolchainError, match="no C\\+\\+ compiler: CXX=no-such-compiler cannot be run; install g\\+\\+"
    ):
        detect_emulator()


SANITIZED = """
  FS_SHARED(int, s);
  __shared__ int x[64];
  const int t = threadIdx.x;
  x[t] = t; s[t] = x[t];
  __syncthreads();
  switch (a.mode) {
    case 0: a.out[t] = s[63 - t] + __shfl_xor_sync(~0u, t, 1); break;
    case 1: s[64 + (t == 40)] = t; break;
    case 2: a.out[1000 + t] = t; break;
    case 3: a.out[100 + t] = t; break;
    case 4: if (t == 3) *(float4*)(a.out + t) = make_float4(1, 2, 3, 4); break;
    case 5: x[t + a.mode - 4] = 1; break;
    case 6: fs_cp_async<4>(s + t, a.out + 1000 + t, true); fs_cp_commit(); fs_cp_wait<0>(); break;
    case 7: if (t == 3) return; break;
  }
  __syncthreads();"""
SCRIPT = """
import sys, ctypes, numpy as np
from pathlib import Path
from fluxshard.codegen.cuda.emulate.compiler import EmulatedKernel
from fluxshard.errors import KernelError
kernel = EmulatedKernel(Path(sys.argv[1]), "k")
class Args(ctypes.Structure): _fields_ = [("out", ctypes.c_void_p), ("mode", ctypes.c_int)]
out = np.zeros(1000, np.int32)
kernel.poison(out.ctypes.data + 400, 64)
def launch(mode): kernel.launch(20, 64, 260, Args(out.ctypes.data, mode))
launch(0)
try: launch(int(sys.argv[2]))
except KernelError as error: print(error)
kernel.unpoison(out.ctypes.data + 400, 64)
for _ in range(5): launch(0)
assert (out[:64] == 63 - np.arange(64) + (np.arange(64) ^ 1)).all()
out[100] = 1
print("clean")
"""
SEEN = {
    0: "clean",
    1: "heap-buffer-overflow",
    2: "heap-buffer-overflow",
    3: "use-after-poison",
    4: "misaligned address",
    5: "index 64 out of bounds",
    6: "heap-buffer-overflow",
    7: "divergent barrier: threads 0-2,4-63 wait at __syncthreads in line 25, threads 3 have exited.*clean",
}


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    try:
        target = detect_emulator(sanitize=True)
        environment = sanitizer_environment(target)
    except ToolchainError as error:
        pytest.skip(str(error))
    text = unit("int* out; int mode;", "#line 10" + SANITIZED)
    return compile_into(tmp_path_factory.mktemp("sanitized"), text, "k", target, HEADERS), os.environ | environment


@pytest.mark.parametrize("mode", SEEN)
def test_sanitizers_see_what_a_kernel_must_not_touch(sanitized: tuple[Path, dict[str, str]], mode: int) -> None:
    library, environment = sanitized
    command = [sys.executable, "-c", SCRIPT, str(library), str(mode)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120)
    seen = " ".join((done.stdout + done.stderr).split())
    assert re.search(SEEN[mode], seen), seen
    assert (done.returncode == 0) == seen.endswith("clean"), seen
    assert ("in k(" in seen or "k.cpp:" in seen) == (mode in (1, 2, 3, 4, 5, 6))


def test_a_process_without_the_sanitizers_is_told(sanitized: tuple[Path, dict[str, str]]) -> None:
    with pytest.raises(ToolchainError, match="kernel k was compiled with sanitizers and this process runs without"):
        EmulatedKernel(sanitized[0], "k")
