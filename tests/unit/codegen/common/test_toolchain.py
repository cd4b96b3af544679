from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import fluxshard
from fluxshard.codegen.common import toolchain
from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.errors import OptionError, ToolchainError

NET = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
EXAMPLE = torch.zeros(1, 3, 8, 9)


@pytest.fixture(params=["cxx", "path"])
def no_compiler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A machine without a compiler: CXX names nothing, or PATH holds nothing. What the message must say."""
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", str(tmp_path / "cache"))
    if request.param == "cxx":
        monkeypatch.setenv("CXX", "/nonexistent")
        return "CXX=/nonexistent cannot be run"
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return "none of g++, clang++, c++ was found"


def test_no_compiler_is_an_error_that_says_what_to_do(no_compiler: str) -> None:
    with pytest.raises(ToolchainError) as caught:
        detect_target()
    for part in (no_compiler, "install g++", "apt install g++", "backend='reference'"):
        assert part in str(caught.value)


def test_no_path_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolchainError, match="none of"):
        detect_target()


def test_auto_falls_back_to_the_reference_with_a_warning(no_compiler: str) -> None:
    with pytest.warns(RuntimeWarning, match="running the reference backend, which is slow"):
        model = fluxshard.compile(NET, EXAMPLE)
    assert model.backend == "reference"
    with model.session() as session, torch.no_grad():
        torch.testing.assert_close(session.run(EXAMPLE), NET(EXAMPLE))


def test_cpp_does_not_fall_back(no_compiler: str) -> None:
    with pytest.raises(ToolchainError, match=no_compiler.replace("+", r"\+")):
        fluxshard.compile(NET, EXAMPLE, options=fluxshard.CompileOptions(backend="cpp"))


def test_an_instruction_set_that_the_processor_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(toolchain, "processor_has", lambda: {"portable", "avx2"})
    monkeypatch.setenv("CXX", str(_compiler(tmp_path / "c++")))
    with pytest.raises(ToolchainError, match="no avx512; it has avx2, portable: use isa='native'"):
        detect_target("avx512")
    assert detect_target("native").isa == "avx2"
    monkeypatch.setattr(toolchain, "processor_has", lambda: {"portable"})
    assert detect_target("native").isa == "portable"
    with pytest.raises(OptionError):
        fluxshard.CompileOptions(isa="sse2")  # type: ignore[arg-type]


def test_each_instruction_set_has_its_width_and_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(toolchain, "processor_has", lambda: {"portable", "avx2", "avx512"})
    monkeypatch.setenv("CXX", str(_compiler(tmp_path / "c++")))
    targets = {isa: detect_target(isa) for isa in ("avx512", "avx2", "portable")}  # type: ignore[arg-type]
    assert {isa: target.vector_floats for isa, target in targets.items()} == {"avx512": 16, "avx2": 8, "portable": 4}
    assert "-mavx512f" in targets["avx512"].flags and "-mavx2" in targets["avx2"].flags
    assert not any(flag.startswith("-m") for flag in targets["portable"].flags)
    for target in targets.values():
        assert not {"-ffast-math", "-Ofast", "-march=native"} & set(target.flags)  # NaN, and caches that are copied
    assert detect_target("native") == targets["avx512"]


def test_cxx_is_the_compiler_and_may_have_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrapper = _compiler(tmp_path / "wrapper")
    monkeypatch.setenv("CXX", f"{wrapper} g++")
    target = detect_target("portable")
    assert target.compiler == f"{wrapper} g++" and target.compiler_id == "wrapper 1.0 of g++"


def test_without_cxx_the_first_compiler_found_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "")
    for name in ("c++", "clang++", "g++"):
        _compiler(tmp_path / name)
        assert detect_target("portable").compiler == name


@pytest.mark.requires_compiler
def test_cxx_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command in CXX is what is run, with the target's flags, and its identity is in the entry."""
    real = shutil.which("g++") or shutil.which("c++")
    log = tmp_path / "log"
    script = tmp_path / "cxx"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {real} -O0 "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    target = detect_target("portable")
    source, output = tmp_path / "a.cpp", tmp_path / "a.so"
    source.write_text("int x;\n")
    toolchain.compile_source(source, output, target)
    asked, compiled = log.read_text().splitlines()
    assert asked == "--version" and output.exists()
    assert compiled == " ".join((*target.flags, str(source), "-o", str(output)))


def _compiler(path: Path) -> Path:
    """Something that answers `--version` and compiles nothing."""
    path.write_text(f'#!/bin/sh\necho "{path.name} 1.0 of $1"\n')
    path.chmod(0o755)
    return path
