"""Runs methods over clips, stores their traces and scores them; an interrupted run resumes with the missing traces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip, annotation_masks
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.methods.method import Method, dense_method
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.metrics.score import score
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.trace_store import StoredTrace, TraceStore
from fluxshard.evaluate.traces.workers import Setup, WorkerPool


class Runner:
    """Makes and scores the traces of one evaluation.

    Args:
      setup: settings shared by all tasks.
      out: directory of the evaluation.
    """

    def __init__(self, setup: Setup, out: Path) -> None:
        self._setup = setup
        self._store = TraceStore(setup, out)

    def run(
        self,
        tasks: Iterable[tuple[Method, Clip]],
        *,
        workers: int | None = None,
        on_frames: Callable[[int], None] = lambda _: None,
        on_trace: Callable[[str], None] = lambda _: None,
    ) -> list[StoredTrace]:
        """Makes the traces that do not exist yet.

        Args:
          tasks: methods and clips.
          workers: number of processes; None starts one per processor.
          on_frames: receives the number of frames done since its last call.
          on_trace: receives one line of text per finished trace.

        Returns:
          the traces of all tasks, in the given order.

        Raises:
          EvaluationError: a task failed; finished traces remain.
        """
        stored = [self._store.locate(method, clip) for method, clip in tasks]
        paths = {(entry.task.method.name, entry.task.clip.name): entry.path for entry in stored}
        missing = [entry.task for entry in stored if not entry.path.exists()]
        if not missing:
            return stored
        with WorkerPool(self._setup, workers, tasks=len(missing)) as pool:
            for finished in pool.run(missing, on_frames):
                path = paths[finished.task.method.name, finished.task.clip.name]
                path.parent.mkdir(parents=True, exist_ok=True)
                finished.trace.save(path)
                on_trace(_line(finished.trace))
        return stored

    def score(
        self, stored: Sequence[StoredTrace], *, teacher: Sequence[StoredTrace] = (), workers: int | None = None
    ) -> list[ClipScores]:
        """Scores traces against the dense network's, and against the clips' annotations where available.

        Args:
          stored: results of `run`; the dense network must have been run on the same clips.
          teacher: traces of a stronger network on the same clips; empty without one.
          workers: number of processes; None starts one per processor.

        Returns:
          scores in the order of `stored`.

        Raises:
          EvaluationError: a trace is missing or damaged.
        """
        clips = {entry.task.clip.name: entry.task.clip for entry in stored}
        dense = {name: self._store.locate(dense_method(), clip).path for name, clip in clips.items()}
        missing = sorted(
            str(path) for path in {*dense.values(), *(entry.path for entry in stored)} if not path.exists()
        )
        if missing:
            raise EvaluationError(f"trace {missing[0]!r} is missing: run its method first")
        paths = {name: [entry.path for entry in stored if entry.task.clip.name == name] for name in clips}
        teachers = {entry.task.clip.name: entry.path for entry in teacher}
        jobs = [(paths[name], dense[name], teachers.get(name), clip) for name, clip in clips.items()]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            scores = dict(zip(clips, map(iter, pool.map(_score, *zip(*jobs, strict=True))), strict=True))
        return [next(scores[entry.task.clip.name]) for entry in stored]


def _score(paths: Sequence[Path], dense_path: Path, teacher_path: Path | None, clip: Clip) -> list[ClipScores]:
    """Scores all traces of one clip, whose annotations and dense trace are read once."""
    dense, teacher = Trace.load(dense_path), None if teacher_path is None else Trace.load(teacher_path)
    masks = annotation_masks(clip, len(dense.frames), dense.picture_size)
    annotations = None if masks is None else [encode(mask) for mask in masks]
    return [score(Trace.load(path), dense, annotations, teacher=teacher) for path in paths]


def _line(trace: Trace) -> str:
    later = trace.frames[1:]
    compute = sum(frame.compute_ratio for frame in later) / max(len(later), 1)
    return f"{trace.clip}: {trace.method}: compute {compute:.3f}"
