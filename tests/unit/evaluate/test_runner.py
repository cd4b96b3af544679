"""Running and scoring: existing traces are not made again, and missing or damaged ones are refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fluxshard.errors import EvaluationError
from fluxshard.evaluate import runner
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.methods.method import Method, Skip, dense_method
from fluxshard.evaluate.metrics.score import score
from fluxshard.evaluate.runner import Runner
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.workers import FinishedTask, Setup, Task
from fluxshard.testing.evaluation import found, trace_of, window

PICTURE = (8, 16)
MASK = encode(window(PICTURE, (0, 8), (0, 8)))
BEAR, COWS = Clip("bear", Path("bear.mp4")), Clip("cows", Path("cows.mp4"))


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    weights = tmp_path / "net.pt"
    weights.write_bytes(b"weights")
    return Setup(weights=weights, size="64", max_frames=3)


@dataclass
class Pools:
    """Stands in for processes: a trace per task, with an object that moves further in some methods than in others.

    Attributes:
      started: workers and tasks of each pool.
      ran: methods and clips of all tasks.
      fails: name of a method that fails.
    """

    started: list[tuple[int | None, int | None]]
    ran: list[tuple[str, str]]
    fails: str = ""

    def __call__(self, setup: Setup, workers: int | None = None, *, tasks: int | None = None) -> Pools:
        self.started.append((workers, tasks))
        return self

    def __enter__(self) -> Pools:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, tasks: Sequence[Task], on_frames: Callable[[int], None]) -> Iterator[FinishedTask]:
        for task in tasks:
            if task.method.name == self.fails:
                raise EvaluationError(f"{task.method.name} fails")
            self.ran.append((task.method.name, task.clip.name))
            left = 2.0 if task.method.name == "dense" else 4.0
            frames = [[found(0.9, (left, 0, left + 8, 8), mask=MASK)] for _ in range(3)]
            on_frames(3)
            yield FinishedTask(
                task, trace_of(*frames, size=PICTURE, clip=task.clip.name, method=task.method.name), None
            )


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Pools:
    made = Pools([], [])
    monkeypatch.setattr(runner, "WorkerPool", made)
    return made


class Inline:
    """Stands in for an executor of processes."""

    def __init__(self, workers: int | None, mp_context: object) -> None: ...

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[..., Any], *columns: Sequence[Any]) -> Iterator[Any]:
        return map(function, *columns)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ProcessPoolExecutor", Inline)


def test_a_second_run_makes_nothing_new(setup: Setup, pools: Pools, tmp_path: Path) -> None:
    tasks: list[tuple[Method, Clip]] = [
        (method, clip) for method in (dense_method(), Skip(every=2)) for clip in (BEAR, COWS)
    ]
    frames, lines = list[int](), list[str]()
    stored = Runner(setup, tmp_path / "out").run(tasks, on_frames=frames.append, on_trace=lines.append)
    assert [(one.task.method, one.task.clip) for one in stored] == tasks
    assert pools.ran == [(method.name, clip.name) for method, clip in tasks] and sum(frames) == 12
    assert lines[0] == "bear: dense: compute 0.500" and len(lines) == 4
    for one in stored:
        assert one.path.parent == tmp_path / "out" / "traces" / one.task.clip.name
        trace = Trace.load(one.path)
        assert (trace.method, trace.clip) == (one.task.method.name, one.task.clip.name)
    written = {one.path: one.path.stat().st_mtime_ns for one in stored}
    assert Runner(setup, tmp_path / "out").run(tasks) == stored
    assert len(pools.ran) == 4 and len(pools.started) == 1  # not even a process
    stored[2].path.unlink()
    assert Runner(setup, tmp_path / "out").run(tasks) == stored
    assert pools.ran[4:] == [("skip every=2", "bear")] and len(pools.started) == 2
    assert all(one.path.stat().st_mtime_ns == written[one.path] for one in stored if one is not stored[2])


@pytest.mark.parametrize("workers", [None, 1, 9])
def test_processes_for_what_is_missing(setup: Setup, pools: Pools, tmp_path: Path, workers: int | None) -> None:
    tasks: list[tuple[Method, Clip]] = [(dense_method(), BEAR), (dense_method(), COWS), (Skip(every=2), BEAR)]
    Runner(setup, tmp_path).run(tasks[:1], workers=workers)
    Runner(setup, tmp_path).run(tasks, workers=workers)
    assert pools.started == [(workers, 1), (workers, 2)]


def test_traces_before_a_failure_are_kept(setup: Setup, pools: Pools, tmp_path: Path) -> None:
    tasks: list[tuple[Method, Clip]] = [(dense_method(), BEAR), (Skip(every=2), BEAR)]
    pools.fails = "skip every=2"
    with pytest.raises(EvaluationError, match="skip every=2 fails"):
        Runner(setup, tmp_path).run(tasks)
    pools.fails = ""
    Runner(setup, tmp_path).run(tasks)
    assert pools.ran == [("dense", "bear"), ("skip every=2", "bear")]


def annotated(folder: Path) -> Clip:
    """The object fills the left quarter of the picture: IoU 1/2 with the mask that is found."""
    folder.mkdir()
    for index in range(3):
        Image.fromarray(window(PICTURE, (0, 8), (0, 4)).astype(np.uint8)).save(folder / f"{index}.png")
    return replace(BEAR, annotations=folder)


def test_scores_are_against_the_dense_network_and_annotations(
    setup: Setup, pools: Pools, inline: None, tmp_path: Path
) -> None:
    bear = annotated(tmp_path / "masks")
    of_one = Runner(setup, tmp_path)
    stored = of_one.run([(dense_method(), bear), (Skip(every=2), bear), (dense_method(), COWS)])
    dense, skip, cows = of_one.score(stored)
    assert [(one.clip, one.method) for one in (dense, skip, cows)] == [
        ("bear", "dense"), ("bear", "skip every=2"), ("cows", "dense"),
    ]  # fmt: skip
    assert dense.jaccard == skip.jaccard == pytest.approx(0.5) and cows.jaccard is None
    traces = [Trace.load(one.path) for one in stored]
    half = [encode(window(PICTURE, (0, 8), (0, 4)))] * 3
    assert repr(skip) == repr(score(traces[1], traces[0], half))
    assert skip.f1 == dense.f1 == 1 and skip.miou == dense.miou == 1  # boxes overlap by 6 of 10 px, masks wholly


def test_a_teacher_is_the_same_network_at_another_size(
    setup: Setup, pools: Pools, inline: None, tmp_path: Path
) -> None:
    runner, larger = Runner(setup, tmp_path), Runner(replace(setup, size="1280"), tmp_path)
    stored, teacher = (one.run([(dense_method(), BEAR)]) for one in (runner, larger))
    assert stored[0].path != teacher[0].path and stored[0].path.parent == teacher[0].path.parent
    (alone,), (taught,) = runner.score(stored), runner.score(stored, teacher=teacher)
    assert alone.teacher is None and taught.teacher == 1  # the pool finds the same at every size


def test_scores_need_every_trace(setup: Setup, pools: Pools, inline: None, tmp_path: Path) -> None:
    of_one = Runner(setup, tmp_path)
    stored = of_one.run([(Skip(every=2), BEAR)])
    with pytest.raises(EvaluationError, match=r"dense-.*is missing: run its method first"):
        of_one.score(stored)
    of_one.run([(dense_method(), BEAR)])
    assert len(of_one.score(stored)) == 1
    for damage in (b"", gzip.compress(b"{}"), stored[0].path.read_bytes()[:-30]):
        stored[0].path.write_bytes(damage)
        with pytest.raises(EvaluationError, match=r"skip-every=2-.*cannot be read.*delete it and evaluate again"):
            of_one.score(stored)
