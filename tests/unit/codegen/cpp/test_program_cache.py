"""Generated programs in the kernel cache: found without a compiler, and brought from elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fluxshard.codegen.common.toolchain import detect_target, processor_target
from fluxshard.codegen.cpp.program_cache import find_program, get_or_build, install
from fluxshard.errors import CompileTimeError, MissingKernelError, ToolchainError
from fluxshard.ir.kernel import Target

pytestmark = pytest.mark.requires_compiler
TEXT = 'extern "C" int answer() { return 42; }'


def flags_of(target: Target) -> Target:
    return replace(target, flags=("-shared", "-fPIC"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return get_or_build("answer", TEXT, flags_of(detect_target("portable")), tmp_path_factory.mktemp("built"))


@pytest.fixture
def bare() -> Target:
    return flags_of(processor_target("portable"))


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")


def test_without_a_compiler_whatever_is_there_is_taken(built: Path, bare: Target, no_compiler: None) -> None:
    root = built.parents[1]
    assert get_or_build("answer", TEXT, bare, root) == built
    assert find_program("answer", TEXT, replace(bare, compiler_id="g++ of somebody else"), root) == built


@pytest.mark.parametrize("what", ["text", "flags", "name"])
def test_but_only_what_was_made_of_this_text(built: Path, bare: Target, no_compiler: None, what: str) -> None:
    root = built.parents[1]
    text = TEXT + " " if what == "text" else TEXT
    target = replace(bare, flags=("-shared",)) if what == "flags" else bare
    name = "other" if what == "name" else "answer"
    with pytest.raises(ToolchainError, match=f"kernels of {name} for portable are not in .*no C.. compiler.*CXX"):
        get_or_build(name, text, target, root)


def test_damaged_and_foreign_entries_are_passed_over(
    built: Path, bare: Target, no_compiler: None, tmp_path: Path
) -> None:
    for name, meta in (("answer-0000000000000000", "{"), ("answer-0000000000000001", '{"compiler": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "meta.json").write_text(meta)
    copy = tmp_path / built.parent.name
    shutil.copytree(built.parent, copy)
    assert find_program("answer", TEXT, bare, tmp_path) == copy / built.name
    (copy / built.name).write_bytes(b"")
    assert find_program("answer", TEXT, bare, tmp_path) is None


def test_a_compiler_is_looked_for_last(bare: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = get_or_build("answer", TEXT, bare, tmp_path)
    assert made.is_file() and made.parents[1] == tmp_path
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "1")
    with pytest.raises(MissingKernelError):
        get_or_build("answer", TEXT + " ", bare, tmp_path)


def test_a_program_from_elsewhere(
    built: Path, bare: Target, no_compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "1")  # nothing is compiled
    made_by = replace(bare, compiler_id="g++ of another machine")
    installed = install("answer", TEXT, built.read_bytes(), made_by, tmp_path)
    assert installed.read_bytes() == built.read_bytes() and (installed.parent / "step.cpp").read_text() == TEXT
    assert get_or_build("answer", TEXT, bare, tmp_path) == installed
    before = installed.stat().st_mtime_ns
    assert install("answer", TEXT, b"something else", made_by, tmp_path) == installed  # what is there stays
    assert installed.stat().st_mtime_ns == before


def test_a_program_of_another_processor_is_not_kept(bare: Target, tmp_path: Path) -> None:
    with pytest.raises(CompileTimeError, match="answer: the compiled program cannot be loaded here"):
        install("answer", TEXT, b"\x7fELF of something else", replace(bare, compiler_id="x"), tmp_path)
    assert list(tmp_path.iterdir()) == []
