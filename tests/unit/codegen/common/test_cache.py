from __future__ import annotations

import ctypes
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fluxshard.codegen.common.cache import cache_root
from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.codegen.cpp.program_cache import get_or_build, key_of
from fluxshard.errors import CompileError, MissingKernelError
from fluxshard.ir.kernel import Target
from tests.unit.codegen.targets import AVX512

pytestmark = pytest.mark.requires_compiler
SOURCE = 'extern "C" int answer() { return 42; }\n'
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def target() -> Target:
    """The machine's compiler, without what costs time."""
    return replace(detect_target("portable"), flags=("-shared", "-fPIC"))


def gone(target: Target) -> Target:
    """The same target after its compiler was removed."""
    return replace(target, compiler="/nonexistent/g++")


def answer(library: Path) -> int:
    return int(ctypes.CDLL(str(library)).answer())


def test_the_key_stands_for_all_that_decides_the_binary() -> None:
    key = key_of(SOURCE, AVX512)
    assert key == key_of(SOURCE, replace(AVX512)) and len(key) == 16 and int(key, 16) >= 0
    others = {
        key_of(SOURCE + " ", AVX512),
        key_of(SOURCE, replace(AVX512, flags=("-O2",))),
        key_of(SOURCE, replace(AVX512, flags=("-O3", "-g"))),
        key_of(SOURCE, replace(AVX512, compiler_id="none 2")),
    }
    assert len(others) == 4 and key not in others
    # the same compiler under another path gives the same binary
    assert key_of(SOURCE, replace(AVX512, compiler="/usr/bin/none")) == key


def test_the_root_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", "")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_root() == Path("/home/somebody/.cache/fluxshard")


def test_a_hit_needs_no_compiler(tmp_path: Path, target: Target) -> None:
    built = get_or_build("net", SOURCE, target, tmp_path)
    assert built.parent.name == f"net-{key_of(SOURCE, target)}"
    assert (built.parent / "step.cpp").read_text() == SOURCE
    assert answer(built) == 42
    assert get_or_build("net", SOURCE, gone(target), tmp_path) == built
    assert [path.name for path in tmp_path.iterdir()] == [built.parent.name]


def test_another_text_is_another_entry(tmp_path: Path, target: Target) -> None:
    one = get_or_build("net", SOURCE, target, tmp_path)
    two = get_or_build("net", SOURCE.replace("42", "43"), target, tmp_path)
    assert (answer(one), answer(two)) == (42, 43) and len(list(tmp_path.iterdir())) == 2


RACER = """
import sys, time
from pathlib import Path
from fluxshard.codegen.cpp.program_cache import get_or_build
from fluxshard.ir.kernel import Target
source, root, compiler, start = sys.argv[1:]
flags = ("-shared", "-fPIC")
target = Target(isa="portable", vector_floats=4, registers=16, compiler=compiler, compiler_id="one", flags=flags)
print("ready", flush=True)
while not Path(start).exists():
    time.sleep(0.005)
print(get_or_build("net", source, target, Path(root)), flush=True)
"""


def test_processes_that_race_leave_one_entry(tmp_path: Path, target: Target) -> None:
    root, start = tmp_path / "cache", tmp_path / "start"
    command = [sys.executable, "-c", RACER, SOURCE, str(root), target.compiler, str(start)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(8)]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    start.touch()
    paths = {racer.communicate(timeout=120)[0].strip() for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * 8
    (path,) = paths
    assert answer(Path(path)) == 42
    assert [entry.name for entry in root.iterdir()] == [Path(path).parent.name]


def _truncate(entry: Path) -> None:
    """As a new file: another process may have this library mapped."""
    data = (entry / "step.so").read_bytes()
    (entry / "step.so").unlink()
    (entry / "step.so").write_bytes(data[: len(data) // 2])


def _edit_meta(**changes: object) -> Callable[[Path], None]:
    def edit(entry: Path) -> None:
        meta = json.loads((entry / "meta.json").read_text())
        (entry / "meta.json").write_text(json.dumps(meta | changes))

    return edit


def _not_a_library(entry: Path) -> None:
    """Whole by its digest, and still not loadable: built for another processor, say."""
    (entry / "step.so").unlink()
    (entry / "step.so").write_bytes(b"\x7fELF no")
    _edit_meta(sha256=hashlib.sha256(b"\x7fELF no").hexdigest())(entry)


def _empty(entry: Path) -> None:
    for path in entry.iterdir():
        path.unlink()


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated library": _truncate,
    "no library": lambda entry: (entry / "step.so").unlink(),
    "not a library": _not_a_library,
    "no meta": lambda entry: (entry / "meta.json").unlink(),
    "garbage meta": lambda entry: (entry / "meta.json").write_text("{"),
    "binary meta": lambda entry: (entry / "meta.json").write_bytes(b"\xff\xfe\x00"),
    "meta of another kind": lambda entry: (entry / "meta.json").write_text("[]"),
    "meta without a digest": lambda entry: (entry / "meta.json").write_text(json.dumps({"key": entry.name[-16:]})),
    "another key": _edit_meta(key="0" * 16),
    "another digest": _edit_meta(sha256="0" * 64),
    "nothing inside": _empty,
}


@pytest.fixture(scope="module")
def pristine(target: Target, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    entry = get_or_build("net", SOURCE, target, tmp_path_factory.mktemp("pristine")).parent
    return {path.name: path.read_bytes() for path in entry.iterdir()}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_a_miss_and_is_replaced(
    damage: str, tmp_path: Path, target: Target, pristine: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = tmp_path / f"net-{key_of(SOURCE, target)}"
    entry.mkdir()
    for name, data in pristine.items():
        (entry / name).write_bytes(data)
    DAMAGE[damage](entry)
    with monkeypatch.context() as patch, pytest.raises(MissingKernelError):
        patch.setenv("FLUXSHARD_NO_COMPILE", "1")
        get_or_build("net", SOURCE, target, tmp_path)
    assert get_or_build("net", SOURCE, target, tmp_path) == entry / "step.so"
    assert get_or_build("net", SOURCE, gone(target), tmp_path) == entry / "step.so"  # a hit again
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]


def test_a_file_in_the_place_of_an_entry_is_replaced(tmp_path: Path, target: Target) -> None:
    entry = tmp_path / f"net-{key_of(SOURCE, target)}"
    entry.write_text("in the way")
    assert answer(get_or_build("net", SOURCE, target, tmp_path)) == 42
    assert [path.name for path in tmp_path.iterdir()] == [entry.name] and entry.is_dir()


def test_compiling_can_be_forbidden(tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "1")
    with pytest.raises(MissingKernelError) as caught:
        get_or_build("net", SOURCE, target, tmp_path)
    message = str(caught.value)
    for part in ("net", key_of(SOURCE, target), str(tmp_path), "FLUXSHARD_NO_COMPILE=1", "unset it"):
        assert part in message
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "0")
    built = get_or_build("net", SOURCE, target, tmp_path)
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "1")
    assert get_or_build("net", SOURCE, target, tmp_path) == built


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands where the directory should be; what is built lies in a temporary directory instead."""
    (tmp_path / "cache").write_text("a file")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with pytest.warns(RuntimeWarning, match=r"cannot be written.*set FLUXSHARD_CACHE_DIR; compiling into a temporary"):
        built = get_or_build("net", SOURCE, target, tmp_path / "cache")
    assert answer(built) == 42 and built.is_relative_to(tmp_path / "tmp")
    assert (tmp_path / "cache").read_text() == "a file"


def test_source_that_the_compiler_refuses_is_kept(tmp_path: Path, target: Target) -> None:
    with pytest.raises(CompileError) as caught:
        get_or_build("net", "int broken(\n", target, tmp_path)
    error = caught.value
    assert error.command[0] == target.compiler.split()[0] and "-shared" in error.command
    assert "error" in error.log
    assert error.source_path is not None and error.source_path.read_text() == "int broken(\n"
    assert str(error.source_path) in str(error) and "\n" not in str(error)
    assert not (tmp_path / f"net-{key_of('int broken(' + chr(10), target)}").exists()  # failures are not cached


def test_a_compiler_that_went_away_is_an_error_of_compiling(tmp_path: Path, target: Target) -> None:
    with pytest.raises(CompileError, match="cannot run /nonexistent"):
        get_or_build("net", SOURCE, gone(target), tmp_path)
