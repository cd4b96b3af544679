"""Processes that run tasks: what one does with its tasks, how tasks are shared out, and what happens when one fails."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

import fluxshard.models.loading.load
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip, prepare
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method import Method, Skip, Stream, dense_method
from fluxshard.evaluate.methods.method_sets import methods_named, set_names
from fluxshard.evaluate.traces import workers
from fluxshard.evaluate.traces.workers import FinishedTask, Setup, Task, WorkerPool
from fluxshard.testing.evaluation import trace_of, window
from fluxshard.testing.networks import bright_model

SETUP = Setup(weights=Path("bright.pt"), size="32x48", backend="reference", threads=1)


def squares(folder: Path, count: int = 4, size: tuple[int, int] = (32, 48), annotated: bool = False) -> Clip:
    """A directory of black pictures with a white square that moves by 8 px."""
    folder.mkdir(parents=True)
    masks = folder.parent / f"{folder.name}-masks"
    for index in range(count):
        mask = window(size, (8, 16), (8 * index, 8 * index + 8))
        Image.fromarray((255 * mask[..., None].repeat(3, -1)).astype(np.uint8)).save(folder / f"{index}.png")
        if annotated:
            masks.mkdir(exist_ok=True)
            Image.fromarray(mask.astype(np.uint8)).save(masks / f"{index}.png")
    return Clip(folder.name, folder, masks if annotated else None)


@dataclass(frozen=True, kw_only=True)
class Broken(Skip):
    """Raises at the start."""

    every: int = 1

    @property
    def name(self) -> str:
        return "broken"

    def start(self, subject: CompiledNetwork) -> Stream:
        raise KeyError("nothing here")


class Line:
    """One end of a pipe, without the other: tasks to receive, and what was sent back."""

    def __init__(self, tasks: list[Task]) -> None:
        self._tasks = list(tasks)
        self.sent: list[tuple[str, Any]] = []

    def recv(self) -> Task:
        if not self._tasks:
            raise EOFError
        return self._tasks.pop(0)

    def send(self, message: tuple[str, Any]) -> None:
        self.sent.append(message)

    def results(self) -> list[tuple[str, Any]]:
        return [(kind, value) for kind, value in self.sent if kind != "frames"]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Loads the stand-in whatever file is asked for; afterwards the process is as it was before it served."""
    loaded: list[Path] = []

    def load(path: Path, task: str) -> object:
        assert task == "auto"
        loaded.append(path)
        return bright_model()

    monkeypatch.setattr(fluxshard.models.loading.load, "load", load)
    handler, threads = signal.getsignal(signal.SIGINT), torch.get_num_threads()
    yield loaded
    signal.signal(signal.SIGINT, handler)
    torch.set_num_threads(threads)


def serve(tasks: list[Task], setup: Setup = SETUP) -> Line:
    line = Line(tasks)
    workers._serve(cast(Connection, line), setup)
    return line


def test_a_process_runs_its_tasks(loads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []

    def counted(clip: Clip, size: tuple[int, int], most: int | None, *, encoded: bool) -> object:
        prepared.append(clip.name)
        return prepare(clip, size, most, encoded=encoded)

    monkeypatch.setattr(workers, "prepare", counted)
    plain, annotated = squares(tmp_path / "plain"), squares(tmp_path / "annotated", annotated=True)
    tasks = [Task(dense_method(), plain), Task(Skip(every=2), annotated), Task(Skip(every=2), plain)]
    line = serve(tasks, replace(SETUP, max_frames=3))
    assert [kind for kind, _ in line.results()] == ["done"] * 3
    finished = [cast(FinishedTask, value) for _, value in line.results()]
    assert [one.task for one in finished] == tasks
    assert [(one.trace.method, one.trace.clip, len(one.trace.frames)) for one in finished] == [
        ("dense", "plain", 3), ("skip every=2", "annotated", 3), ("skip every=2", "plain", 3),
    ]  # fmt: skip
    lefts = [[one.box[0] for frame in trace.trace.frames for one in frame.objects] for trace in finished]
    assert lefts == [[0, 8, 16], [0, 0, 16], [0, 0, 16]]
    masks = tuple(encode(window((32, 48), (8, 16), (left, left + 8))) for left in (0, 8, 16))
    assert [one.annotations for one in finished] == [None, masks, None]
    assert sum(value for kind, value in line.sent if kind == "frames") == 9
    # the network and clips are cached
    assert loads == [Path("bright.pt")] and prepared == ["plain", "annotated"]
    assert finished[0].trace.facts["threads"] == 1


def test_clips_of_other_shapes_get_networks_of_other_sizes(loads: list[Path], tmp_path: Path) -> None:
    clips = [squares(tmp_path / "wide", 2, (32, 64)), squares(tmp_path / "high", 2, (64, 32))]
    line = serve([Task(dense_method(), clip) for clip in clips], replace(SETUP, size="64"))
    assert [value.trace.facts["shape"] for _, value in line.results()] == [[32, 64], [64, 32]]
    assert len(loads) == 1


def test_a_process_outlives_its_failures(loads: list[Path], tmp_path: Path) -> None:
    good, missing = squares(tmp_path / "good", 2), Clip("missing", tmp_path / "nowhere.mp4")
    line = serve([Task(Broken(), good), Task(dense_method(), missing), Task(dense_method(), good)])
    (first, why), (second, where), (third, _) = line.results()
    assert (first, second, third) == ("failed", "failed", "done")
    assert why.startswith("KeyError: 'nothing here'\nTraceback") and "in start" in why  # a bug: with where it happened
    assert "nowhere.mp4" in where and "Traceback" not in where  # a mistake of the user's: without


def test_a_network_that_says_nothing_of_its_outputs_is_refused(
    loads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = replace(bright_model(), layout=None, task="raw")
    monkeypatch.setattr(fluxshard.models.loading.load, "load", lambda *_: raw)
    ((kind, text),) = serve([Task(dense_method(), squares(tmp_path / "a", 2))]).results()
    assert kind == "failed" and "task 'raw' cannot be evaluated" in text


def _stand_in(connection: Connection, setup: Setup) -> None:
    """Serves tasks without networks; the method's n says what to do."""
    del setup
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        every = task.method.every
        if every == DIES:
            os._exit(9)
        elif every == FAILS:
            connection.send(("failed", "no luck"))
        else:
            while every == WAITS and not task.clip.source.exists():
                time.sleep(0.001)
            if every == SIGNALS:
                task.clip.source.touch()
            connection.send(("frames", 2))
            connection.send(("frames", 1))
            trace = trace_of([], [], clip=task.clip.name, method=task.method.name)
            connection.send(("done", FinishedTask(task, replace(trace, facts={"pid": os.getpid()}), None)))


DIES, FAILS, WAITS, SIGNALS = 1000, 1001, 1002, 1003


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that start at once, as they need no torch."""
    context = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context("fork"))
    monkeypatch.setattr(workers, "_serve", _stand_in)


def tasks_of(*names: str) -> list[Task]:
    """ "a2" is method 2 on clip a."""
    return [Task(Skip(every=int(name[1:])), Clip(name[0], Path(name[0]))) for name in names]


def named(finished: FinishedTask) -> str:
    return f"{finished.task.clip.name}{cast(Skip, finished.task.method).every}"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_task_finishes_once(quick: None, count: int) -> None:
    frames, children = list[int](), multiprocessing.active_children()
    names = ["a1", "b1", "c1", "a2", "b2", "a3"]
    with WorkerPool(SETUP, count) as pool:
        finished = list(pool.run(tasks_of(*names), frames.append))
        assert sorted(named(one) for one in finished) == sorted(names)
        assert all(
            one.trace.clip == one.task.clip.name and one.trace.method == one.task.method.name for one in finished
        )
        assert sum(frames) == 3 * len(names)
        assert list(pool.run([])) == []
        assert [named(one) for one in pool.run(tasks_of("d4"))] == ["d4"]  # a pool serves again
    assert multiprocessing.active_children() == children


@pytest.mark.parametrize(("workers", "tasks", "expected"), [(3, 2, 2), (1, 2, 1), (None, 1, 1)])
def test_no_more_processes_than_tasks(quick: None, workers: int | None, tasks: int, expected: int) -> None:
    before = len(multiprocessing.active_children())
    with WorkerPool(SETUP, workers, tasks=tasks):
        assert len(multiprocessing.active_children()) - before == expected


def test_tasks_of_one_clip_follow_each_other(quick: None) -> None:
    """A process decodes a clip once, and goes on with it."""
    with WorkerPool(SETUP, 1) as pool:
        finished = [named(one) for one in pool.run(tasks_of("a1", "b1", "c1", "a2", "b2", "a3"))]
        assert finished == ["a1", "a2", "a3", "b1", "b2", "c1"]


def test_processes_take_clips_that_no_other_has(quick: None, tmp_path: Path) -> None:
    """While one process is busy with b, the other does all of a."""
    clips = {name: Clip(name, tmp_path / "signal") for name in "ab"}
    steps = (("a", 1), ("a", 2), ("a", SIGNALS), ("b", WAITS))
    with WorkerPool(SETUP, 2) as pool:
        finished = list(pool.run([Task(Skip(every=every), clips[name]) for name, every in steps]))
    pids = {named(one): one.trace.facts["pid"] for one in finished}
    assert pids["a1"] == pids["a2"] == pids[f"a{SIGNALS}"] != pids[f"b{WAITS}"]


def test_all_are_busy_even_if_one_clip_is_left(quick: None) -> None:
    with WorkerPool(SETUP, 2) as pool:
        pids = {one.trace.facts["pid"] for one in pool.run(tasks_of("a1", "a2"))}
    assert len(pids) == 2


@pytest.mark.parametrize(
    ("every", "words"),
    [(FAILS, ("no luck",)), (DIES, ("the process that ran", "died", "use fewer workers"))],
)
def test_a_task_that_fails_says_which(quick: None, every: int, words: tuple[str, ...]) -> None:
    before, children = list[str](), multiprocessing.active_children()
    with WorkerPool(SETUP, 1) as pool, pytest.raises(EvaluationError) as caught:
        for one in pool.run(tasks_of("a1", f"a{every}", "b3")):
            before.append(named(one))
    assert before == ["a1"]
    for word in (f"'skip every={every}'", "'a'", *words):
        assert word in str(caught.value)
    assert multiprocessing.active_children() == children


def test_processes_of_their_own_report_weights_that_do_not_exist(tmp_path: Path) -> None:
    """The only test here that starts a real process, which takes seconds."""
    setup = replace(SETUP, weights=tmp_path / "missing.pt")
    clip = squares(tmp_path / "bear", 2)
    with WorkerPool(setup, 1) as pool, pytest.raises(EvaluationError, match=r"'dense' on 'bear': .*missing\.pt"):
        list(pool.run([Task(dense_method(), clip)]))


@pytest.mark.parametrize("method", methods_named(set_names(), 32), ids=lambda method: method.name)
def test_what_crosses_between_processes_survives_it(method: Method) -> None:
    sent = FinishedTask(Task(method, Clip("a", Path("a"))), trace_of([]), ("x",))
    received = pickle.loads(pickle.dumps(sent))
    assert received.task == sent.task and repr(received) == repr(sent)  # NaN equals nothing
