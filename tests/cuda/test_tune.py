"""The tuner: it measures every candidate, keeps the fastest, and measures a device once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import fluxshard
from fluxshard.codegen.cuda import tune as tuning
from fluxshard.codegen.cuda.emulate.loader import EmulatedLoader
from fluxshard.codegen.cuda.launches.kernels import Gemm, GemmTile
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.launches.tiles import candidates
from fluxshard.codegen.cuda.tune import tune
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.runtime.engines.cuda_bench import DeviceBench
from fluxshard.runtime.engines.cuda_device import EmulatedDevice
from fluxshard.testing.plan_builder import PlanBuilder

pytestmark = pytest.mark.requires_compiler
TARGET = CudaTarget(arch="sm_80", dtype="float16")


def _plan() -> Plan:
    b = PlanBuilder(3, 16, 24)
    x = b.conv("image", 24, (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), act=("silu",))
    y = b.conv(x, 24, (3, 3), padding=((1, 1), (1, 1)))
    b.conv(b.conv(x, 24, (3, 3), padding=((1, 1), (1, 1))), 24, (1, 1), y)
    return b.finish()


class Scripted(DeviceBench):
    """Runs each launch, and answers with what the test says it took."""

    def __init__(self, answer: Callable[[], float]) -> None:
        super().__init__(EmulatedDevice())
        self.answer = answer

    def time_ms(self, launch: Callable[[int], None]) -> float:
        launch(0)
        return self.answer()


def test_the_fastest_tile_is_taken_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, loader = _plan(), EmulatedLoader()
    describer = Describer(plan, TARGET)
    problems = {layer.name: describer.problem(layer) for layer in plan.layers}
    assert problems["conv2d_1"] == problems["conv2d_2"], "layers alike are one problem"
    wanted = {name: candidates(TARGET, problem)[:3][-1] for name, problem in problems.items() if problem is not None}
    seen: list[GemmTile] = []
    measure = tuning._measure

    def measured(plan: Plan, target: CudaTarget, loader: object, bench: object, tiles: dict) -> dict[str, float]:
        seen.extend(tiles.values())
        measure(plan, target, loader, bench, tiles)  # type: ignore[arg-type]
        return {name: 1.0 if tile == wanted[name] else 2.0 for name, tile in tiles.items()}

    monkeypatch.setattr(tuning, "_measure", measured)
    done: list[tuple[int, int]] = []
    found = tune(plan, TARGET, loader, Scripted(lambda: 1.0), "Card 1", tmp_path, lambda *n: done.append(n), limit=3)
    assert found == wanted
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert len(seen) == 9, "three problems, three tiles each"
    seen.clear()
    assert tune(plan, TARGET, loader, Scripted(lambda: 1.0), "Card 1", tmp_path, limit=3) == wanted
    assert not seen, "a device is measured once"
    tune(plan, TARGET, loader, Scripted(lambda: 1.0), "Card 2", tmp_path, limit=1)
    assert len(seen) == 3, "and every device"
    (kept,) = tmp_path.glob("tiles-card-1-*.json")
    kept.write_text("{broken")
    seen.clear()
    tune(plan, TARGET, loader, Scripted(lambda: 1.0), "Card 1", tmp_path, limit=1)
    assert len(seen) == 3, "a bad entry is a miss"


def test_layers_are_measured_on_all_cells_and_on_a_quarter(tmp_path: Path) -> None:
    plan = _plan()
    counts: list[int] = []

    class Counting(Scripted):
        def write(self, address: int, array: np.ndarray) -> None:
            if array.size == 1:
                counts.append(int(array[0]))
            super().write(address, array)

    tune(plan, TARGET, EmulatedLoader(), Counting(lambda: 1.0), "Card", tmp_path, limit=1)
    cells = plan.grids[1].cells
    assert sorted(counts) == sorted([cells, cells // 4] * 3)


def test_a_tuned_model_gives_what_an_untuned_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "cache_root", lambda: tmp_path)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 40, 3, 2, 1), torch.nn.SiLU(), torch.nn.Conv2d(40, 24, 3, padding=1))
    net.eval()
    image = torch.rand(1, 3, 24, 32)
    results = []
    for autotune in (False, True):
        options = fluxshard.CompileOptions(backend="emulated", autotune=autotune)
        model = fluxshard.compile(net, image, options=options, target="cuda")
        with model.session() as session:
            results.append(session.run(image))
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    assert list(tmp_path.glob("tiles-emulated-*.json"))
    chosen = [step.kernel.tile for step in _gemms(model)]
    assert len(chosen) == 2


def _gemms(model: fluxshard.CompiledModel) -> list:
    describer = model._last().program.engine._program.describer  # type: ignore[attr-defined]
    return [step for step in describer.order(tuning._PLANNED) if isinstance(getattr(step, "kernel", None), Gemm)]
