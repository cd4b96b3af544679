"""Saved models with generated C++: the same bits, without a compiler, and on processors that they were not made for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fluxshard
from fluxshard.codegen.common import toolchain
from fluxshard.compile_loaded import compile_loaded
from fluxshard.compiled import load as loading
from fluxshard.errors import ToolchainError
from fluxshard.models.loading.load import load
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.saved.saved_model import read_saved, write_saved
from fluxshard.testing.moving_frames import frames

ROOT = Path(__file__).resolve().parents[2]
SIZE = (48, 64)
CPP = fluxshard.CompileOptions(backend="cpp")


class WithIsland(nn.Module):
    """Convolutions, and a gate that global pooling and a matrix product compute: an island with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, 1, 1)
        self.gate = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.first(x))
        gate = torch.sigmoid(self.gate(y.mean((2, 3))))
        return self.last(y * gate[:, :, None, None]), gate


@pytest.fixture(scope="module")
def model() -> fluxshard.CompiledModel:
    torch.manual_seed(0)
    return fluxshard.compile(WithIsland().eval(), torch.zeros(1, 3, *SIZE), options=CPP)


@pytest.fixture(scope="module")
def file(model: fluxshard.CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "m.fluxshard"
    model.save(path)
    return path


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


@pytest.mark.parametrize("reuse", [None, ReuseOptions(tau=0.05), ReuseOptions.exact()], ids=["planned", "own", "exact"])
def test_a_loaded_model_computes_the_same_bits(
    model: fluxshard.CompiledModel, file: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, reuse: ReuseOptions
) -> None:
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "1")
    monkeypatch.setenv("CXX", "/nonexistent")
    loaded = fluxshard.load(file)
    assert loaded.backend == "cpp" and any(layer.mode == "dense" for layer in loaded.plan.layers)
    with model.session(reuse) as ours, loaded.session(reuse) as theirs:
        for image, motion in frames("pan", SIZE, 6, seed=1):
            for a, b in zip(ours.run(image, motion), theirs.run(image, motion), strict=True):
                assert torch.equal(a, b)
            assert ours.stats.compute_ratio == theirs.stats.compute_ratio
            if ours.planned is not None and ours.planned.work is not None:
                assert theirs.planned is not None and theirs.planned.work is not None
                assert all(np.array_equal(mask, theirs.planned.work[grid]) for grid, mask in ours.planned.work.items())
    assert len(list(empty_cache.glob("[!.]*"))) == 4  # the step, the input cache, the image test, the search


def test_programs_that_are_there_are_not_written_again(file: Path, empty_cache: Path) -> None:
    fluxshard.load(file)
    before = {path: path.stat().st_mtime_ns for path in empty_cache.rglob("*")}
    fluxshard.load(file)
    assert {path: path.stat().st_mtime_ns for path in empty_cache.rglob("*")} == before


def test_a_damaged_entry_is_replaced_by_the_file_s(file: Path, empty_cache: Path) -> None:
    fluxshard.load(file)
    for library in empty_cache.glob("*/step.so"):
        library.unlink()
        library.write_bytes(b"damaged")
    with fluxshard.load(file).session() as session:
        session.run(torch.rand(1, 3, *SIZE))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written(file: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_cache.mkdir(mode=0o500)
    monkeypatch.setenv("FLUXSHARD_NO_COMPILE", "1")
    with pytest.warns(RuntimeWarning, match="writing into a temporary directory"):
        loaded = fluxshard.load(file)
    with loaded.session() as session:
        session.run(torch.rand(1, 3, *SIZE))


def test_a_cache_that_is_a_file(file: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_cache.write_text("")
    monkeypatch.setenv("CXX", "/nonexistent")
    with pytest.warns(RuntimeWarning, match="writing into a temporary directory"):
        loaded = fluxshard.load(file)
    for reuse in (None, ReuseOptions()):
        with loaded.session(reuse) as session:
            session.run(torch.rand(1, 3, *SIZE))


def test_the_best_instruction_set_of_the_file_is_taken(
    model: fluxshard.CompiledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.fluxshard"
    best = toolchain.processor_target().isa
    saved = model.save(path, isas=("portable", "native"))
    assert {program.isa for program in saved.programs} == {"portable", best}
    monkeypatch.setenv("CXX", "/nonexistent")
    assert fluxshard.load(path).options.isa == best
    portable = fluxshard.load(path, options=fluxshard.CompileOptions(isa="portable"))
    assert portable.options.isa == "portable"
    for has in ({"portable"}, {"portable", best}):
        monkeypatch.setattr(loading, "processor_has", lambda has=has: has)
        assert fluxshard.load(path).options.isa == ("portable" if len(has) == 1 else best)


def elsewhere(file: Path, path: Path, **change: str) -> Path:
    saved = read_saved(file)
    write_saved(replace(saved, programs=tuple(replace(one, **change) for one in saved.programs)), path)
    return path


@pytest.mark.parametrize(
    "change", [{"machine": "riscv64"}, {"library": b"\x7fELF of another kind"}], ids=["cpu", "elf"]
)
def test_programs_for_another_processor(
    file: Path, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    other = elsewhere(file, tmp_path / "other.fluxshard", **change)
    with pytest.warns(RuntimeWarning, match=r"other.fluxshard' holds programs .*: looking for a compiler"):
        rebuilt = fluxshard.load(other)
    with rebuilt.session() as session:
        session.run(torch.rand(1, 3, *SIZE))
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("CXX", "/nonexistent")
    expected = r"other.fluxshard' holds programs .* cannot be made anew: .*no C\+\+ compiler: CXX=.*install g\+\+"
    with pytest.warns(RuntimeWarning), pytest.raises(ToolchainError, match=expected):
        fluxshard.load(other)
    plain = fluxshard.load(other, options=fluxshard.CompileOptions(backend="reference"))
    assert plain.backend == "reference"  # as the message says


def test_a_newer_version_generates_other_text(
    file: Path, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of other source is never run for this plan: it is compiled anew, or refused."""
    old = elsewhere(file, tmp_path / "old.fluxshard", text="int old;")
    assert fluxshard.load(old).backend == "cpp"
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("CXX", "/nonexistent")
    with pytest.raises(ToolchainError, match=r"are not in .*another, and no C"):
        fluxshard.load(old)


def test_thresholds_that_the_file_has_no_program_for(
    file: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")
    reuse = ReuseOptions(policy="planned", planned=PlannedOptions(levels={2: LevelOptions(shard_px=24)}))
    with fluxshard.load(file).session(reuse) as session:  # numpy tests the image
        for image, motion in frames("pan", SIZE, 3, seed=1):
            session.run(image, motion)


CACHED = """
import sys, warnings
import torch
import fluxshard
from tests.host.test_saved_cpp import SIZE, WithIsland

torch.manual_seed(0)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    options = fluxshard.CompileOptions(backend=sys.argv[1])
    model = fluxshard.compile(WithIsland().eval(), torch.zeros(1, 3, *SIZE), options=options)
print(model.backend)
for one in said:
    print(one.message)
"""


@pytest.mark.parametrize("backend", ["cpp", "auto"])
def test_a_filled_cache_needs_no_compiler(model: fluxshard.CompiledModel, tmp_path: Path, backend: str) -> None:
    path = {"PYTHONPATH": str(ROOT), "CXX": "/nonexistent"}

    def compiled(**more: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", CACHED, backend], env={**os.environ, **path, **more}, capture_output=True, text=True,
            timeout=200, cwd=tmp_path,
        )  # fmt: skip
        return (done.stdout + done.stderr).splitlines()

    found = compiled()
    assert found[0] == "cpp" and "CXX=/nonexistent cannot be run; running kernels from the cache" in found[1]
    empty = compiled(FLUXSHARD_CACHE_DIR=str(tmp_path / "empty"))
    if backend == "auto":
        assert empty[0] == "reference" and "running the reference backend" in empty[1]
    else:
        assert "ToolchainError: kernels of withisland" in empty[-1] and "no C++ compiler" in empty[-1]


@pytest.fixture(scope="module")
def bfloat16(tmp_path_factory: pytest.TempPathFactory) -> tuple[fluxshard.CompiledModel, Path]:
    torch.manual_seed(0)
    options = fluxshard.CompileOptions(backend="cpp", dtype="bfloat16")
    model = fluxshard.compile(WithIsland().eval(), torch.zeros(1, 3, *SIZE), options=options)
    path = tmp_path_factory.mktemp("saved") / "b.fluxshard"
    model.save(path)
    return model, path


def test_bfloat16_stays_bfloat16(
    bfloat16: tuple[fluxshard.CompiledModel, Path], empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")
    model, path = bfloat16
    for loaded in (fluxshard.load(path), compile_loaded(load(path), options=fluxshard.CompileOptions())):
        assert loaded.dtype == model.dtype == "bfloat16" and loaded.backend == "cpp"
        with model.session() as ours, loaded.session() as theirs:
            for image, motion in frames("pan", SIZE, 3, seed=1):
                assert all(map(torch.equal, ours.run(image, motion), theirs.run(image, motion)))
    reference = compile_loaded(load(path), options=fluxshard.CompileOptions(backend="reference"))
    assert (reference.backend, reference.dtype) == ("reference", "float32")


@pytest.mark.skipif(not toolchain.multiplies_pairs(), reason="this processor has no AVX512_BF16")
def test_programs_for_pairs_on_a_processor_without_them(
    bfloat16: tuple[fluxshard.CompiledModel, Path], empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "multiplies_pairs", lambda: False)
    monkeypatch.setattr(loading, "multiplies_pairs", lambda: False)
    with pytest.warns(RuntimeWarning, match="holds programs for .*avx512_bf16 on .*: looking for a compiler"):
        rebuilt = fluxshard.load(bfloat16[1])
    with rebuilt.session() as session:
        session.run(torch.rand(1, 3, *SIZE))


WITHOUT_COMPILER = """
import logging
import sys
import torch
import fluxshard

logging.basicConfig()
model = fluxshard.load(sys.argv[1])
SIZE = (48, 64)
sources = []
with fluxshard.video.open(sys.argv[2], size=SIZE, vectors=sys.argv[3]) as video, model.session() as session:
    for frame in video:
        session.run(frame.pixels, frame.motion)
        sources.append(frame.motion_source)
print(model.options.isa, *sources)
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    content = np.random.default_rng(0).integers(0, 256, (SIZE[0], SIZE[1] + 8, 3)).astype(np.uint8)
    for number in range(3):
        Image.fromarray(content[:, 4 * number : 4 * number + SIZE[1]]).save(folder / f"{number}.png")
    return folder


def without_compiler(file: Path, pictures: Path, tmp_path: Path, vectors: str) -> subprocess.CompletedProcess[str]:
    """Runs pictures through a file where PATH holds nothing and the kernel cache is empty."""
    (tmp_path / "empty").mkdir()
    environment = {"PATH": str(tmp_path / "empty"), "CXX": "", "FLUXSHARD_CACHE_DIR": str(tmp_path / "cache")}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER, str(file), str(pictures), vectors],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("isas", [(), ("portable",)], ids=["own", "lesser"])
def test_motion_is_searched_without_a_compiler(
    model: fluxshard.CompiledModel, pictures: Path, tmp_path: Path, isas: tuple[fluxshard.options.Isa, ...]
) -> None:
    """Also where the file's instruction set is not the best of the processor."""
    saved = model.save(tmp_path / "m.fluxshard", isas=isas)
    done = without_compiler(tmp_path / "m.fluxshard", pictures, tmp_path, "search")
    assert done.returncode == 0, done.stderr
    isa = isas[0] if isas else toolchain.processor_target().isa
    assert done.stdout.split() == [isa, "none", "block_matching", "block_matching"]
    assert sum(program.name == "block-search" for program in saved.programs) == 1


def test_a_file_without_a_search_has_motion_from_an_encoder(
    file: Path, pictures: Path, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, old = read_saved(file), tmp_path / "old.fluxshard"
    programs = tuple(program for program in saved.programs if program.name != "block-search")
    assert len(programs) == len(saved.programs) - 1
    write_saved(replace(saved, programs=programs), old)
    done = without_compiler(old, pictures, tmp_path, "auto")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["none", "encoder", "encoder"]
    assert "motion comes from an encoder" in done.stderr
    monkeypatch.setenv("CXX", "/nonexistent")
    with pytest.warns(RuntimeWarning, match=r"no search of motion is kept for \w+: .*no C\+\+ compiler"):
        again = fluxshard.load(old).save(tmp_path / "again.fluxshard")
    assert len(again.programs) == len(programs)
