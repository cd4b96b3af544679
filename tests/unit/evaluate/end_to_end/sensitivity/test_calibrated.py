"""Profiles of all rows: made once, on other clips than those that are replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.calibration import calibrate
from fluxshard.evaluate.data.clips import Clip, prepare
from fluxshard.evaluate.end_to_end.entrants import PAPERS, PLANNED_RAW
from fluxshard.evaluate.end_to_end.sensitivity import calibrated
from fluxshard.evaluate.end_to_end.sensitivity.calibrated import CalibratedOn, check_apart, profiles
from fluxshard.evaluate.end_to_end.sensitivity.configurations import Configuration
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.testing.evaluation import PoolOf, bright_network, pool_on
from fluxshard.testing.networks import bright_model

ROWS = (
    Configuration(entrant=PAPERS, budget=0.05, split=0.5),
    Configuration(entrant=PAPERS, budget=0.05, split=0.9),
    Configuration(entrant=PLANNED_RAW, budget=0.05),
)


@pytest.fixture
def on(tmp_path: Path) -> CalibratedOn:
    """Six pictures over a texture, in which a bright square moves."""
    folder = tmp_path / "clips" / "street"
    folder.mkdir(parents=True)
    texture = np.random.default_rng(0).integers(0, 80, (32, 48, 3)).astype(np.uint8)
    for index in range(6):
        picture = texture.copy()
        picture[8:16, 4 * index : 4 * index + 8] = 230
        Image.fromarray(picture).save(folder / f"{index}.png")
    return CalibratedOn(clips=(Clip("street", folder),), max_frames=6, points=3, layers=1, configurations=ROWS)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    (tmp_path / "bright.pt").write_bytes(b"weights")
    return Setup(weights=tmp_path / "bright.pt", size="32x48", backend="reference", encoded=True, max_frames=50)


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch, on: CalibratedOn) -> list[PoolOf]:
    """Pools that were started, in this process."""
    started: list[PoolOf] = []

    class Pool:
        def __init__(self, setup: Setup, workers: int | None, *, tasks: int) -> None:
            assert setup.max_frames == 6 and setup.encoded and tasks == 1
            started.append(pool_on(bright_network(), [prepare(on.clips[0], (32, 48), encoded=True)]))
            self.run: Callable[..., Any] = started[-1].run

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(calibrated, "WorkerPool", Pool)
    monkeypatch.setattr(calibrate, "load", lambda *_: bright_model())
    return started


def test_profiles_are_made_once(pools: list[PoolOf], on: CalibratedOn, setup: Setup, tmp_path: Path) -> None:
    told: list[str] = []
    found = profiles(on, setup, tmp_path, tell=told.append)
    assert tuple(found) == ROWS
    assert [one.reuse.policy for one in found.values()] == ["propagated", "propagated", "planned"]
    assert all(one.facts["alpha"] == pytest.approx(0.95) for one in found.values())
    assert all(one.facts["clips"] == ["street"] and one.canvas_px == 0 for one in found.values())
    assert sum(name == "dense" for name, _ in pools[0].ran) == 1, "one dense run for all rows"
    assert [line for line in told if line.startswith("calibrating")] == [f"calibrating {one.label}" for one in ROWS]

    again = profiles(on, setup, tmp_path, tell=told.append)
    assert again == found and len(pools) == 1
    more = replace(on, configurations=(*ROWS, Configuration(entrant=PLANNED_RAW, budget=0.01)))
    assert len(profiles(more, setup, tmp_path)) == 4 and len(pools) == 2
    assert {name for name, _ in pools[1].ran} <= {"dense", "planned"}, "only the new row"


def test_the_clips_are_others(on: CalibratedOn) -> None:
    check_apart(on, [Clip("lane", Path("lane.mp4"))])
    with pytest.raises(EvaluationError, match="calibrated on street"):
        check_apart(on, [Clip("another name", on.clips[0].source)])
    with pytest.raises(EvaluationError, match="no clip"):
        check_apart(replace(on, clips=()), [])
