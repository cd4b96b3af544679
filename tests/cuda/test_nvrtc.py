"""NVRTC: machine code for GPUs without one, kept in the cache, and what it says when it cannot."""

from __future__ import annotations

import subprocess
import sys
import threading
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fluxshard.codegen.cuda.compile import cubin as cubin_module
from fluxshard.codegen.cuda.compile.cubin import Job, compile_many, get_or_build_cubin
from fluxshard.codegen.cuda.compile.nvrtc import OPTIONS, Nvrtc
from fluxshard.errors import CompileError, MissingKernelError, ToolchainError
from fluxshard.ir.kernel import CUDA_ARCHES

ROOT = Path(__file__).resolve().parents[2]
HEADERS = {"fs/scale.cuh": "#define SCALE 3.0f\n"}
TEXT = """
#include "fs/scale.cuh"
struct Args { const float* in; float* out; int n; };
extern "C" __global__ void __launch_bounds__(128) fs_scale(const __grid_constant__ Args a) {
  __shared__ float part[128];
  part[threadIdx.x] = threadIdx.x < a.n ? a.in[threadIdx.x] : 0.0f;
  __syncthreads();
  if (threadIdx.x < a.n) a.out[threadIdx.x] = SCALE * part[threadIdx.x ^ 1];
}
"""


class Status(IntEnum):
    NVRTC_SUCCESS = 0
    NVRTC_ERROR_OUT_OF_MEMORY = 1
    NVRTC_ERROR_INTERNAL_ERROR = 11


def fake(
    version: tuple[int, int] = (13, 5), arches: tuple[int, ...] = (75, 80, 86, 90, 121), **functions: Any
) -> Nvrtc:
    """A compiler of another version, which answers as `cuda.bindings.nvrtc` does."""
    answers = {
        "nvrtcVersion": lambda: (Status.NVRTC_SUCCESS, *version),
        "nvrtcGetSupportedArchs": lambda: (Status.NVRTC_SUCCESS, list(arches)),
    }
    return Nvrtc(SimpleNamespace(**(answers | functions)))


def without(folder: Path, *names: str) -> list[str]:
    """The command of a Python that does not import some packages of this environment, nor finds NVIDIA's libraries.

    Those are looked for in site-packages, of which -S makes an ordinary directory.
    """
    for path in Path(pytest.__file__).parents[1].iterdir():
        if path.suffix != ".pth" and path.name not in names:
            (folder / path.name).symlink_to(path)
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]\n"
        "from fluxshard.codegen.cuda.compile.nvrtc import Nvrtc\nfrom fluxshard.errors import ToolchainError\n"
        "try: print('found', Nvrtc().identity)\nexcept ToolchainError as error: print(error)"
    )
    return [sys.executable, "-S", "-c", code]


# ---- compiling


def test_every_architecture_gives_machine_code_for_it(nvrtc: Nvrtc) -> None:
    arches = [arch for arch in CUDA_ARCHES if int(arch[3:]) in nvrtc.arches]
    assert len(arches) >= len(CUDA_ARCHES) - 1
    codes = set()
    for arch in arches:
        code, log = nvrtc.compile_cubin(TEXT, "scale.cu", arch, HEADERS)
        assert code[:4] == b"\x7fELF" and b".text.fs_scale\0" in code
        assert f"Compiling entry function 'fs_scale' for '{arch}'" in log and not log.endswith("\0")
        codes.add(code)
    assert len(codes) == len(arches)
    assert not any("fast" in option for option in OPTIONS)


def test_headers_are_served_from_memory_by_the_names_of_their_includes(nvrtc: Nvrtc) -> None:
    one, _ = nvrtc.compile_cubin(TEXT, "scale.cu", "sm_86", HEADERS)
    two, _ = nvrtc.compile_cubin(TEXT, "scale.cu", "sm_86", {"fs/scale.cuh": "#define SCALE 4.0f\n"})
    three, _ = nvrtc.compile_cubin(TEXT.replace('#include "fs/scale.cuh"', "#define SCALE 3.0f"), "scale.cu", "sm_86")
    assert one != two and one == three
    assert nvrtc.compile_cubin(TEXT, "scale.cu", "sm_86", HEADERS)[0] == one  # the same every time
    with pytest.raises(CompileError, match=r"scale.cu\(2\): .*(cannot|could not) open source file \"fs/scale.cuh\""):
        nvrtc.compile_cubin(TEXT, "scale.cu", "sm_86", {"scale.cuh": ""})


def test_divisions_and_denormals_are_those_of_ieee(nvrtc: Nvrtc) -> None:
    """As fast mathematics would not have them: the code is another one."""
    text = 'extern "C" __global__ void k(float* p) { p[0] = p[1] / p[2]; }'
    exact, _ = nvrtc.compile_cubin(text, "k.cu", "sm_86")
    fast, _ = nvrtc.compile_cubin(text.replace("p[1] / p[2]", "__fdividef(p[1], p[2])"), "k.cu", "sm_86")
    assert len(exact) > len(fast)


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("int x = ;", r"broken.cu\(1\): error: expected an expression"),
        ('extern "C" __global__ void k() { asm volatile("no.such.thing;"); }', "ptxas .*error"),
        ("#error no tile fits", r"broken.cu\(1\): .*error: #error directive: no tile fits"),
    ],
)
def test_text_that_is_refused(line: str, seen: str, nvrtc: Nvrtc, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=rf"^NVRTC [\d.]+ failed on generated code for sm_80 \({seen}") as caught:
        nvrtc.compile_cubin(line, "broken.cu", "sm_80", source_path=tmp_path / "kernel.cu")
    error = caught.value
    assert error.command == ("--gpu-architecture=sm_80", *OPTIONS)
    assert "error" in error.log and "\0" not in error.log and "\n" not in str(error)
    assert error.source_path == tmp_path / "kernel.cu" and f"source kept in {tmp_path}" in str(error)


def test_threads_compile_at_the_same_time(nvrtc: Nvrtc) -> None:
    """The GIL is free while NVRTC compiles: another thread runs all the while."""
    body = "".join(f"x = x * sinf(x + {n}.0f);\n" for n in range(30))
    text = f'extern "C" __global__ void k(float* p) {{ float x = p[0];\n{body}p[1] = x; }}'
    ticks, done = 0, threading.Event()

    def compile() -> None:
        nvrtc.compile_cubin(text, "long.cu", "sm_86")
        done.set()

    thread = threading.Thread(target=compile)
    thread.start()
    while not done.wait(0.002):
        ticks += 1
    thread.join()
    assert ticks >= 10


# ---- what cannot be compiled here


def test_an_architecture_that_was_dropped() -> None:
    with pytest.raises(ToolchainError) as caught:
        fake().check_arch("sm_72")
    message = str(caught.value)
    for part in (
        "NVRTC 13.5 does not compile for sm_72", "it has sm_75, sm_80, sm_86, sm_90, sm_121", "NVRTC 12.9 or older",
        "pip uninstall nvidia-cuda-nvrtc", "pip install 'cuda-bindings<13' 'nvidia-cuda-nvrtc-cu12<13'",
    ):  # fmt: skip
        assert part in message
    fake((12, 9), (50, 72, 90)).check_arch("sm_72")


@pytest.mark.parametrize(
    ("arch", "seen"),
    [
        ("sm_130", "sm_130 needs a newer NVRTC: pip install -U"),
        ("sm_88", "sm_88 needs another version of NVRTC: pip install -U"),
        ("compute_86", "does not compile for compute_86; .*: name one of them"),
        ("", "name one of them"),
    ],
)
def test_an_architecture_that_it_does_not_know(arch: str, seen: str) -> None:
    with pytest.raises(ToolchainError, match=seen):
        fake().check_arch(arch)


def test_the_installed_version_says_no_before_it_compiles(nvrtc: Nvrtc, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=f"{nvrtc.identity} does not compile for sm_30; it has .*sm_90") as caught:
        get_or_build_cubin("fs_scale", TEXT, HEADERS, "sm_30", tmp_path)
    assert not isinstance(caught.value, CompileError) and not list(tmp_path.iterdir())


def test_bindings_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda.bindings.nvrtc", "cuda.bindings", "cuda"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ToolchainError, match=r"nvrtc cannot be imported.*pip install 'fluxshard\[cuda\]'"):
        Nvrtc()


def test_a_library_that_is_not_there() -> None:
    class DynamicLibNotFoundError(RuntimeError):
        """As cuda.pathfinder raises it, at the first call."""

    def missing() -> None:
        raise DynamicLibNotFoundError('Failure finding "libnvrtc.so.13":\n  No such file')

    with pytest.raises(ToolchainError) as caught:
        fake(nvrtcVersion=missing)
    assert str(caught.value) == (
        'libnvrtc cannot be loaded (Failure finding "libnvrtc.so.13": No such file); CUDA kernels need it: '
        "pip install 'fluxshard[cuda]'"
    )


@pytest.mark.parametrize(
    ("absent", "seen"),
    [(("cuda",), "cuda.bindings.nvrtc cannot be imported"), ((), "libnvrtc cannot be loaded")],
    ids=["bindings", "library"],
)
def test_an_environment_without(absent: tuple[str, ...], seen: str, nvrtc: Nvrtc, tmp_path: Path) -> None:
    """What the real packages do, not what we believe they do."""
    done = subprocess.run(without(tmp_path, *absent), capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    if done.stdout.startswith("found"):
        pytest.skip("the system has an NVRTC of its own")
    assert seen in done.stdout and "pip install 'fluxshard[cuda]'" in done.stdout


def test_a_compiler_that_is_broken() -> None:
    broken = fake(nvrtcCreateProgram=lambda *args: (Status.NVRTC_ERROR_OUT_OF_MEMORY, None))
    with pytest.raises(ToolchainError, match="nvrtcCreateProgram of NVRTC failed with NVRTC_ERROR_OUT_OF_MEMORY"):
        broken.compile_cubin(TEXT, "scale.cu", "sm_86", HEADERS)
    destroyed = []
    broken = fake(
        nvrtcCreateProgram=lambda *args: (Status.NVRTC_SUCCESS, "program"),
        nvrtcCompileProgram=lambda *args: (Status.NVRTC_ERROR_INTERNAL_ERROR,),
        nvrtcGetProgramLogSize=lambda program: (Status.NVRTC_SUCCESS, 1),
        nvrtcGetProgramLog=lambda program, log: (Status.NVRTC_SUCCESS,),
        nvrtcDestroyProgram=destroyed.append,
    )
    with pytest.raises(CompileError, match=r"NVRTC 13.5 failed .* \(NVRTC_ERROR_INTERNAL_ERROR\)"):
        broken.compile_cubin(TEXT, "scale.cu", "sm_86", HEADERS)
    assert destroyed == ["program"]


# ---- the cache


def test_a_cubin_is_compiled_once_and_keeps_its_resources(
    nvrtc: Nvrtc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = get_or_build_cubin("fs_scale", TEXT, HEADERS, "sm_86", tmp_path)
    assert made.code == made.path.read_bytes() and made.path.parent.parent == tmp_path
    assert made.resources.registers > 0 and made.resources.shared_bytes == 512 and not made.resources.spills
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "1")
    assert get_or_build_cubin("fs_scale", TEXT, HEADERS, "sm_86", tmp_path) == made
    with pytest.raises(MissingKernelError):
        get_or_build_cubin("fs_scale", TEXT, HEADERS, "sm_80", tmp_path)


def test_the_kernel_has_to_be_there(nvrtc: Nvrtc, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"no kernel fs_other in generated code, but fs_scale: ") as caught:
        get_or_build_cubin("fs_other", TEXT, HEADERS, "sm_86", tmp_path)
    assert caught.value.kernel == "fs_other" and caught.value.source_path is not None
    assert caught.value.source_path.read_text() == TEXT


def test_a_report_that_cannot_be_read_is_no_error(
    nvrtc: Nvrtc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cubin_module, "parse_ptxas", lambda log: {})
    assert get_or_build_cubin("fs_scale", TEXT, HEADERS, "sm_86", tmp_path).resources.registers == 0


def test_many_are_what_they_are_one_by_one(nvrtc: Nvrtc, tmp_path: Path) -> None:
    texts = [TEXT.replace("SCALE *", f"{n}.5f * SCALE *") for n in range(6)]
    jobs = [Job(name="fs_scale", text=text, arch="sm_86", headers=HEADERS) for text in texts]
    many = compile_many(jobs, tmp_path / "many")
    one = [get_or_build_cubin("fs_scale", text, HEADERS, "sm_86", tmp_path / "one") for text in texts]
    assert [made.code for made in many] == [made.code for made in one]
    assert len({made.code for made in many}) == len(list((tmp_path / "many").iterdir())) == 6
    assert compile_many(jobs, tmp_path / "many", workers=1) == many


def test_the_first_of_many_that_is_refused(nvrtc: Nvrtc, tmp_path: Path) -> None:
    jobs = [
        Job(name=name, text=text, arch="sm_86")
        for name, text in [
            ("good", 'extern "C" __global__ void good() {}'), ("bad", "int x = ;"), ("worse", "int y = ;"),
        ]
    ]  # fmt: skip
    with pytest.raises(CompileError, match=r"bad.cu\(1\): error") as caught:
        compile_many(jobs, tmp_path, workers=2)
    assert caught.value.kernel == "bad"
