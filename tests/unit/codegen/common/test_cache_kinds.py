"""What the cache promises for entries that are one CUDA kernel: machine code for a GPU, a library for the emulator."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fluxshard.codegen.cuda.compile.cubin import get_or_build_cubin
from fluxshard.codegen.cuda.compile.resources import Resources
from fluxshard.codegen.cuda.emulate.cache import get_or_build_emulated
from fluxshard.errors import CompileError, FluxShardError, MissingKernelError, ToolchainError

TEXT, HEADERS = "one kernel\n", {"a.h": "one\n", "deep/b.h": "two\n"}
LOG = "ptxas info    : Compiling entry function 'k' for 'sm_86'\nptxas info    : Used 40 registers, used 1 barriers\n"


@dataclass(frozen=True)
class Compiler:
    """Stands in for NVRTC and for g++: what it makes says what it was made of."""

    identity: str = "NVRTC 13.5"
    flags: tuple[str, ...] = ("-O1",)
    error: FluxShardError | OSError | None = None
    calls: list[str] = field(default_factory=list)
    together: threading.Barrier | None = None

    @property
    def compiler_id(self) -> str:
        return self.identity

    def compile_cubin(
        self, text: str, name: str, arch: str, headers: Mapping[str, str], source_path: Path
    ) -> tuple[bytes, str]:
        assert source_path.read_text() == text
        self._compile(source_path)
        return f"\x7fELF {text} {arch} {dict(headers)}\0.text.k\0".encode(), LOG

    def compile_library(self, source: Path, output: Path, target: Compiler) -> None:
        assert target is self
        self._compile(source)
        output.write_bytes(b"\x7fELF")

    def _compile(self, source: Path) -> None:
        if self.together:
            self.together.wait(timeout=60)
        self.calls.append(source.name)
        if isinstance(self.error, CompileError):
            raise CompileError(f"{self.error}; source kept in {source}", command=(), log="", source_path=source)
        if self.error:
            raise self.error


@dataclass(frozen=True)
class Kind:
    """How one kind of entry is asked for."""

    artefact: str
    get: Callable[..., Path]

    def __call__(
        self, root: Path, compiler: Compiler, text: str = TEXT, headers: Mapping[str, str] = HEADERS, **others: str
    ) -> Path:
        return self.get(root, compiler, text, headers, **others)


def _cubin(root: Path, compiler: Compiler, text: str, headers: Mapping[str, str], arch: str = "sm_86") -> Path:
    made = get_or_build_cubin("k", text, headers, arch, root, compiler)  # type: ignore[arg-type]
    assert made.code == made.path.read_bytes() and made.resources == Resources(registers=40, barriers=1)
    return made.path


def _emulated(root: Path, compiler: Compiler, text: str, headers: Mapping[str, str]) -> Path:
    return get_or_build_emulated("k", text, headers, compiler, compiler.compile_library, root)


KINDS = {"cubin": Kind("kernel.cubin", _cubin), "emulated": Kind("kernel.so", _emulated)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def test_an_entry_has_its_sources_beside_it_and_is_built_once(kind: Kind, tmp_path: Path) -> None:
    compiler = Compiler()
    built = kind(tmp_path, compiler)
    assert built.name == kind.artefact and built.parent.parent == tmp_path and built.parent.name.startswith("k-")
    assert int(built.parent.name[2:], 16) >= 0 and len(built.parent.name) == 18
    found = {path.relative_to(built.parent).as_posix() for path in built.parent.rglob("*") if path.is_file()}
    assert found == {"kernel.cu", kind.artefact, "meta.json", "a.h", "deep/b.h"}
    assert (built.parent / "kernel.cu").read_text() == TEXT and (built.parent / "deep/b.h").read_text() == "two\n"
    assert kind(tmp_path, compiler) == built and compiler.calls == ["kernel.cu"]
    assert [path.name for path in tmp_path.iterdir()] == [built.parent.name]


def test_the_key_stands_for_all_that_decides_the_binary(kind: Kind, tmp_path: Path) -> None:
    compiler = Compiler()
    made = [
        kind(tmp_path, compiler),
        kind(tmp_path, compiler, text=TEXT + " "),
        kind(tmp_path, compiler, headers={**HEADERS, "a.h": "three\n"}),
        kind(tmp_path, compiler, headers={"b.h": "one\n", "deep/b.h": "two\n"}),
        kind(tmp_path, compiler, headers={}),
        kind(tmp_path, replace(compiler, identity="NVRTC 12.9")),
    ]
    if kind.get is _cubin:
        made.append(kind(tmp_path, compiler, arch="sm_87"))
    else:
        made.append(kind(tmp_path, replace(compiler, flags=("-O2",))))
    assert len(set(made)) == len(compiler.calls) == len(made)


def test_kinds_do_not_meet(tmp_path: Path) -> None:
    assert len({kind(tmp_path, Compiler()).parent.name for kind in KINDS.values()}) == len(KINDS)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:2]),
    "no artefact": lambda path: path.unlink(),
    "no meta": lambda path: (path.parent / "meta.json").unlink(),
    "garbage meta": lambda path: (path.parent / "meta.json").write_text("{"),
    "meta of another kind": lambda path: (path.parent / "meta.json").write_text("[]"),
    "another key": lambda path: _edit(path, key="0" * 16),
    "another digest": lambda path: _edit(path, sha256="0" * 64),
}
OF_CUBINS: dict[str, Callable[[Path], object]] = {
    "no resources": lambda path: _edit(path, resources=None),
    "resources of another version": lambda path: _edit(path, resources={"registers": 40, "tensor_bytes": 3}),
    "resources that are no numbers": lambda path: _edit(path, resources={"registers": "many"}),
}


def _edit(path: Path, **changes: object) -> None:
    meta = path.parent / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | changes))


@pytest.mark.parametrize(
    ("name", "damage"), [(n, d) for n in KINDS for d in (*DAMAGE, *(OF_CUBINS if n == "cubin" else ()))]
)
def test_a_damaged_entry_is_a_miss_and_is_replaced(
    name: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, compiler = KINDS[name], Compiler()
    path = kind(tmp_path, compiler)
    whole = path.read_bytes()
    (DAMAGE | OF_CUBINS)[damage](path)
    with monkeypatch.context() as patch, pytest.raises(MissingKernelError):
        patch.setenv("FLUXSHARD_NO_COMPILE", "1")
        kind(tmp_path, compiler)
    assert kind(tmp_path, compiler) == path and path.read_bytes() == whole and len(compiler.calls) == 2
    assert kind(tmp_path, compiler) == path and len(compiler.calls) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [path.parent.name]


def test_threads_that_race_leave_one_entry(kind: Kind, tmp_path: Path) -> None:
    compiler = Compiler(together=threading.Barrier(8))
    with ThreadPoolExecutor(8) as pool:
        (path,) = set(pool.map(lambda _: kind(tmp_path, compiler), range(8)))
    assert len(compiler.calls) == 8 and [entry.name for entry in tmp_path.iterdir()] == [path.parent.name]


def test_compiling_can_be_forbidden(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler()
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "1")
    with pytest.raises(MissingKernelError, match=r"kernels of k \([0-9a-f]{16}\) are not in .*FLUXSHARD_NO_COMPILE=1"):
        kind(tmp_path, compiler)
    assert compiler.calls == [] and not list(tmp_path.iterdir())
    monkeypatch.delenv("FLUXSHARD_NO_COMPILE")
    built = kind(tmp_path, compiler)
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "1")
    assert kind(tmp_path, compiler) == built


@pytest.mark.parametrize("cause", ["a file is there", "the disk is full"])
def test_a_cache_that_cannot_be_written_is_done_without(
    cause: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, elsewhere = tmp_path / "cache", tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    compiler = Compiler()
    if cause == "a file is there":
        cache.write_text("a file")
    else:
        write, full = Path.write_text, OSError(28, "No space left on device")

        def write_text(path: Path, text: str, **options: str) -> int:
            if path.is_relative_to(cache):
                raise full
            return write(path, text, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.warns(RuntimeWarning, match=r"cannot be written.*set FLUXSHARD_CACHE_DIR; compiling into a temporary"):
        built = kind(cache, compiler)
    assert built.is_relative_to(elsewhere) and built.name == kind.artefact and len(compiler.calls) == 1
    assert cache.is_file() or not list(cache.iterdir())


def test_source_that_the_compiler_refuses_is_kept(kind: Kind, tmp_path: Path) -> None:
    compiler = Compiler(error=CompileError("line 1", command=(), log="", source_path=None))
    with pytest.raises(CompileError, match="line 1; source kept in") as caught:
        kind(tmp_path, compiler)
    source = caught.value.source_path
    assert source is not None and source.name == "kernel.cu" and source.read_text() == TEXT
    assert (source.parent / "a.h").read_text() == "one\n" and str(source) in str(caught.value)
    assert caught.value.kernel == "k"
    assert [path.name[:3] for path in tmp_path.iterdir()] == [".k-"]  # no entry: failures are not cached


def test_nothing_stays_of_what_was_not_compiled(kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="none"):
        kind(tmp_path, Compiler(error=ToolchainError("none")))
    assert not list(tmp_path.iterdir())
