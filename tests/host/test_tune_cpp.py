"""The program that times tiles, and that a tile changes no bit of what is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fluxshard
from fluxshard.codegen.common.toolchain import detect_target, multiplies_pairs
from fluxshard.codegen.cpp import build_step
from fluxshard.codegen.cpp.lowering import describe
from fluxshard.codegen.cpp.tiles import Tile
from fluxshard.codegen.cpp.tuning.bench import TileBench, identity_of
from fluxshard.codegen.cpp.tuning.problem import candidates, problems_of, tiles_of
from fluxshard.ir.kernel import CpuDType
from fluxshard.ir.plan import Plan
from fluxshard.runtime.engines.cpp import CppEngine
from fluxshard.runtime.engines.engine import StepControl
from fluxshard.testing.plan_builder import PlanBuilder

pytestmark = pytest.mark.requires_compiler
DTYPES: tuple[CpuDType, ...] = ("float32", "bfloat16")


def plan() -> Plan:
    """The stem, odd channels, several segments, and an upsampled one."""
    b = PlanBuilder(3, 40, 56)
    x = b.conv("image", 21, (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), act=("silu",))
    y = b.conv(x, 40, (3, 3), padding=((1, 1), (1, 1)), act=("silu",))
    b.conv(b.conv(y, 80, (1, 1)), 33, (1, 1), act=("silu",))
    return b.finish()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_tiles(dtype: CpuDType) -> None:
    target = detect_target(dtype=dtype)
    random = np.random.default_rng(0)
    built = plan()
    weights = {w.name: torch.from_numpy(random.normal(0, 0.2, w.shape).astype(np.float32)) for w in built.weights}
    image = torch.from_numpy(random.random((1, 3, 40, 56), np.float32))
    control = StepControl(keyframe=True, rfap="off", remap=True, tau=(0.0,) * len(built.layers), work=None)
    expected = None
    for tile in (None, *tiles_of(target)[::3]):
        tiles = {} if tile is None else {layer.name: tile for layer in built.layers}
        engine = CppEngine(built, build_step(built, target, tiles=tiles), weights)
        found = [leaf.clone() for leaf in engine.step(engine.new_state(), image, None, control).leaves]
        expected = expected or found
        assert all(map(torch.equal, found, expected)), tile


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tile_is_timed(dtype: CpuDType) -> None:
    if dtype == "bfloat16" and not multiplies_pairs():
        pytest.skip("this processor has no AVX512_BF16")
    target = detect_target(dtype=dtype)
    bench = TileBench(target, 2)
    for problem in set(problems_of(describe(plan(), target)).values()):
        tiles = candidates(problem, target)
        times = bench.measure(problem, tiles, (1.0, 0.15))
        assert len(times) == len(tiles) and all(len(row) == 2 and min(row) > 0 for row in times)
        assert sum(row[0] for row in times) > sum(row[1] for row in times), "fewer cells take less time"


def test_what_results_depend_on_is_named() -> None:
    target = detect_target()
    assert identity_of(target, 1) != identity_of(target, 2)
    assert identity_of(target, 1) != identity_of(detect_target("portable"), 1)


def test_a_tuned_model_says_so_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fluxshard.codegen.cpp.tuning import bench as benches

    class Likes(TileBench):
        """Whatever has the most cells of one vector is fast."""

        def measure(self, problem, tiles, shares):  # type: ignore[no-untyped-def]
            liked = max((tile for tile in tiles[1:]), key=lambda tile: (tile.vectors == 1, tile.cells))
            return [[1.0 if tile == liked else 2.0] * len(shares) for tile in tiles]

    monkeypatch.setattr(benches, "TileBench", Likes)
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", str(tmp_path))
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 40, 3, 2, 1), torch.nn.SiLU(), torch.nn.Conv2d(40, 24, 3, padding=1))
    net.eval()
    image, told, results = torch.rand(1, 3, 24, 32), [], []
    for autotune in (False, True, True):
        options = fluxshard.CompileOptions(backend="cpp", autotune=autotune)
        model = fluxshard.compile(net, image, options=options, progress=lambda *n: told.append(n))
        with model.session() as session:
            results.append(session.run(image))
    assert torch.equal(results[0], results[1]) and torch.equal(results[1], results[2])
    assert told == [(1, 2), (2, 2)], "measured once"
    rows = {row.name: row.kernel for row in model.explain().rows}
    assert sum("tuned" in kernel for kernel in rows.values()) == 2, rows
    saved = tmp_path / "model.fluxshard"
    model.save(saved)
    opened = fluxshard.load(saved)
    assert not opened.options.autotune, "tiles of this processor mean nothing on another"
    with opened.session() as session:
        assert torch.equal(session.run(image), results[0])
    assert Tile(14, 1) in tiles_of(detect_target())
