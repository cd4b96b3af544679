"""A complete evaluation with a detector of known results, without processes; and its parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fluxshard.evaluate import experiment, runner
from fluxshard.evaluate.calibration import calibrate
from fluxshard.evaluate.calibration.calibrate import ProgressCallbacks
from fluxshard.evaluate.data.clips import Clip, prepare
from fluxshard.evaluate.experiment import Experiment, halves, measure_of, run_experiment
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.report import figures
from fluxshard.evaluate.traces.tracing import trace_clip
from fluxshard.evaluate.traces.workers import FinishedTask, Setup, Task
from fluxshard.options import ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile
from fluxshard.testing.evaluation import bright_network
from fluxshard.testing.networks import bright_model
from tests.unit.evaluate.report.scores import clip_scores

SETUP = Setup(weights=Path("bright.pt"), size="32x48", backend="reference")


def test_halves_alternate_by_name_and_share_no_clip() -> None:
    clips = [Clip(name, Path(name)) for name in "dbeac"]
    first, second = halves(clips)
    assert [clip.name for clip in first] == ["a", "c", "e"] and [clip.name for clip in second] == ["b", "d"]
    assert halves([]) == ((), ())


def test_the_default_measure_is_what_all_clips_have() -> None:
    annotated, plain = clip_scores("a", "dense", jaccard=0.5), clip_scores("b", "dense", jaccard=None)
    poses = clip_scores("c", "dense", jaccard=None, oks=1.0)
    assert measure_of([annotated]) == "jaccard"
    assert measure_of([annotated, plain]) == measure_of([plain]) == "miou"
    assert measure_of([plain, poses]) == "oks"


class InlinePool:
    """Runs tasks in this process in place of a `WorkerPool`."""

    ran: list[tuple[str, str]]

    def __init__(self, ran: list[tuple[str, str]]) -> None:
        self.ran = ran
        self._network = bright_network()

    def __call__(self, setup: Setup, workers: int | None = None, *, tasks: int | None = None) -> InlinePool:
        assert setup == SETUP
        return self

    def __enter__(self) -> InlinePool:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, tasks: Sequence[Task], on_frames: Callable[[int], None]) -> Iterator[FinishedTask]:
        for task in tasks:
            self.ran.append((task.method.name, task.clip.name))
            yield FinishedTask(
                task, trace_clip(task.method, self._network, prepare(task.clip, (32, 48)), on_frames), None
            )


class InlineExecutor:
    """Runs jobs in this process in place of an executor of processes."""

    def __init__(self, workers: int | None, mp_context: object) -> None: ...

    def __enter__(self) -> InlineExecutor:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[..., Any], *columns: Sequence[Any]) -> Iterator[Any]:
        return map(function, *columns)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(method, clip) of all tasks that are run."""
    tasks: list[tuple[str, str]] = []
    pool = InlinePool(tasks)
    for module in (experiment, runner):
        monkeypatch.setattr(module, "WorkerPool", pool)
    monkeypatch.setattr(runner, "ProcessPoolExecutor", InlineExecutor)
    for module in (calibrate, figures):
        monkeypatch.setattr(module, "load", lambda *_: bright_model())
    return tasks


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Clip, ...]:
    """Two clips over a texture: a bright square moves, and another one stands still."""
    found = []
    for number, name in enumerate(("cows", "bear")):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        texture = np.random.default_rng(number).integers(0, 80, (32, 48, 3)).astype(np.uint8)
        for index in range(6):
            picture = texture.copy()
            picture[0:8, 0:8] = 240
            picture[16:24, 8 * (index // 2) : 8 * (index // 2) + 8] = 220
            Image.fromarray(picture).save(folder / f"{index}.png")
        found.append(Clip(name, folder))
    return tuple(found)


def test_everything_is_made_once(ran: list[tuple[str, str]], clips: tuple[Clip, ...], tmp_path: Path) -> None:
    given = ThresholdProfile(reuse=ReuseOptions(tau_input=0.02), canvas_px=0, network="n", weights="w")
    given.save(tmp_path / "given.json")
    request = Experiment(
        clips=clips, setup=SETUP, out=tmp_path / "out", methods=("skip", "ablations"), budgets=(0.5,), points=2,
        threshold_profiles={"given": tmp_path / "given.json"}, examples=1, command="the command",
    )  # fmt: skip
    steps, frames = list[str](), list[int]()
    scores = run_experiment(request, ProgressCallbacks(frames.append, steps.append))
    by_task = {(one.method, one.clip): one for one in scores}
    assert len(by_task) == len(scores) and sum(frames) == 6 * len(ran)
    for name in ("bear", "cows"):
        dense: ClipScores = by_task["dense", name]
        assert dense.compute_ratio == 1 and dense.f1 == 1
        assert by_task["skip every=2", name].compute_ratio == pytest.approx(2 / 5)
        assert by_task["planned@50%", name].compute_ratio < 1
        assert ("planned@50%, carried", name) in by_task
        assert ("given w/o remap", name) in by_task  # propagated profiles get ablations as well

    # each profile was calibrated on the clip that it is not reported on
    profiles = {path.name: json.loads(path.read_text()) for path in (tmp_path / "out" / "profiles").glob("*.json")}
    assert {name: one["facts"]["clips"] for name, one in profiles.items()} == {
        "planned-50pct-a.json": ["bear"], "planned-50pct-b.json": ["cows"],
    }  # fmt: skip
    assert all(one["facts"]["alpha"] == 0.5 for one in profiles.values())
    assert any(step.startswith("calibrating planned@50% on bear") for step in steps)
    assert steps[-2:] == ["scores", "figures"]

    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [(one["method"], one["clip"]) for one in written] == [(one.method, one.clip) for one in scores]
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| planned@50% |" in text and "the command" in text and "calibrated on one half of the clips" in text
    assert "mIoU" in text and (tmp_path / "out" / "report.html").stat().st_size > 50_000
    assert (tmp_path / "out" / "figures" / "example-cows.jpg").exists()

    done = len(ran)
    again = run_experiment(replace(request, measure="f1"))
    assert repr(again) == repr(scores) and len(ran) == done
    assert "mIoU to dense" in (tmp_path / "out" / "report.md").read_text()


def test_without_budgets_nothing_is_calibrated(
    ran: list[tuple[str, str]], clips: tuple[Clip, ...], tmp_path: Path
) -> None:
    scores = run_experiment(Experiment(clips=clips[:1], setup=SETUP, out=tmp_path / "out", examples=0))
    assert [(one.method, one.clip) for one in scores] == [("dense", "cows")] == ran
    assert not (tmp_path / "out" / "profiles").exists()
    assert "calibrated on one half" not in (tmp_path / "out" / "report.md").read_text()


def test_one_clip_cannot_be_calibrated_for(ran: list[tuple[str, str]], clips: tuple[Clip, ...], tmp_path: Path) -> None:
    """There is no other half to report a profile on."""
    request = Experiment(clips=clips[:1], setup=SETUP, out=tmp_path / "out", budgets=(0.1,), examples=0)
    assert {one.method for one in run_experiment(request)} == {"dense"}
