"""Runs methods over clips, keeps every trace, and scores them: an evaluation that can be stopped and goes on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip, annotation_masks
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.methods.method import Method, dense_method
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.metrics.score import score
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.workers import Setup, Task, WorkerPool

TRACES = "traces"


@dataclass(frozen=True, slots=True)
class Kept:
    """A task and where its trace is kept."""

    task: Task
    path: Path


class Runner:
    """Traces and scores of one evaluation.

    Args:
      setup: of the processes.
      out: directory that keeps traces.
    """

    def __init__(self, setup: Setup, out: Path) -> None:
        self._setup = setup
        self._folder = out / TRACES
        self._digest = _digest_of(setup)

    def kept(self, method: Method, clip: Clip) -> Kept:
        """Where a trace is kept: its name depends on everything that the trace depends on."""
        source = str(clip.source.resolve())
        facts = json.dumps([method.name, dict(method.facts), source, self._digest], sort_keys=True, default=str)
        slug = re.sub(r"[^a-z0-9.=-]+", "-", method.name.lower()).strip("-")
        name = f"{slug}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.json.gz"
        return Kept(Task(method, clip), self._folder / clip.name / name)

    def run(
        self,
        tasks: Iterable[tuple[Method, Clip]],
        *,
        workers: int | None = None,
        on_frames: Callable[[int], None] = lambda _: None,
        on_trace: Callable[[str], None] = lambda _: None,
    ) -> list[Kept]:
        """Makes the traces that are not there yet.

        Args:
          tasks: methods and clips.
          workers: processes; None takes one per processor.
          on_frames: called with frames done.
          on_trace: called with a line per trace.

        Returns:
          all tasks in the given order, with their traces' paths.

        Raises:
          EvaluationError: a task failed; traces so far are kept.
        """
        every = [self.kept(method, clip) for method, clip in tasks]
        paths = {(kept.task.method.name, kept.task.clip.name): kept.path for kept in every}
        missing = [kept.task for kept in every if not kept.path.exists()]
        if not missing:
            return every
        with WorkerPool(self._setup, workers, tasks=len(missing)) as pool:
            for finished in pool.run(missing, on_frames):
                path = paths[finished.task.method.name, finished.task.clip.name]
                path.parent.mkdir(parents=True, exist_ok=True)
                finished.trace.save(path)
                on_trace(_line(finished.trace))
        return every

    def score(self, kept: Sequence[Kept], *, workers: int | None = None) -> list[ClipScores]:
        """Scores traces against those of the dense network, and against annotations where clips have them.

        Raises:
          EvaluationError: a trace is missing or damaged.
        """
        clips = {one.task.clip.name: one.task.clip for one in kept}
        dense = {name: self.kept(dense_method(), clip).path for name, clip in clips.items()}
        missing = sorted(str(path) for path in {*dense.values(), *(one.path for one in kept)} if not path.exists())
        if missing:
            raise EvaluationError(f"trace {missing[0]!r} is missing: run its method first")
        paths = {name: [one.path for one in kept if one.task.clip.name == name] for name in clips}
        jobs = [(paths[name], dense[name], clip) for name, clip in clips.items()]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            scores = dict(zip(clips, map(iter, pool.map(_score, *zip(*jobs, strict=True))), strict=True))
        return [next(scores[one.task.clip.name]) for one in kept]


def _score(paths: Sequence[Path], dense_path: Path, clip: Clip) -> list[ClipScores]:
    """All traces of one clip: its annotations and its dense trace are read once."""
    dense = Trace.load(dense_path)
    masks = annotation_masks(clip, len(dense.frames), dense.picture_size)
    annotations = None if masks is None else [encode(mask) for mask in masks]
    return [score(Trace.load(path), dense, annotations) for path in paths]


def _digest_of(setup: Setup) -> str:
    body: dict[str, Any] = asdict(setup)
    del body["threads"]  # changes time, not results
    weights = Path(setup.weights)
    body["weights"] = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else str(weights)
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()


def _line(trace: Trace) -> str:
    later = trace.frames[1:]
    compute = sum(frame.compute_ratio for frame in later) / max(len(later), 1)
    return f"{trace.clip}: {trace.method}: compute {compute:.3f}"
