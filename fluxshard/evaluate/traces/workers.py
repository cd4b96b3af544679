"""Processes that run methods over clips; each keeps its networks and clips, so that later tasks start at once."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fluxshard.errors import EvaluationError, FluxShardError
from fluxshard.evaluate.data.clips import Clip, prepare
from fluxshard.evaluate.methods.method import Method
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.options import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all tasks of a pool share.

    Attributes:
      weights: of the network.
      task: as for `models.loading.load`.
      size: as `--size`; None for the default.
      backend: as in `CompileOptions`.
      max_frames: of every clip; None for all.
      threads: of each process.
    """

    weights: Path
    task: str = "auto"
    size: str | None = None
    backend: Backend = "auto"
    max_frames: int | None = None
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Task:
    """One method on one clip."""

    method: Method
    clip: Clip


@dataclass(frozen=True, slots=True)
class Finished:
    """A task's trace, and the run lengths of the clip's annotations."""

    task: Task
    trace: Trace
    annotations: tuple[str, ...] | None


class WorkerPool:
    """Runs tasks in processes of their own; a context manager that ends them.

    Args:
      setup: what to load.
      workers: processes; None takes one per processor.
      tasks: that there will be at once; more processes than that are not started.
    """

    def __init__(self, setup: Setup, workers: int | None = None, *, tasks: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._processes = []
        self._connections: list[Connection] = []
        wanted = workers or os.cpu_count() or 1
        for _ in range(wanted if tasks is None else min(wanted, tasks)):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, setup), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.close()
        for process in self._processes:
            process.terminate()
            process.join()

    def run(self, tasks: Sequence[Task], on_frames: Callable[[int], None] = lambda _: None) -> Iterator[Finished]:
        """Runs tasks, those of one clip on one process where that keeps all busy, and yields them as they finish.

        Args:
          tasks: to run.
          on_frames: called with the number of frames done since the last call.

        Raises:
          EvaluationError: a task failed, or a process died.
        """
        waiting = list(tasks)
        last_clip: dict[Connection, str] = {}
        busy: dict[Connection, Task] = {}

        def give(connection: Connection) -> None:
            if not waiting:
                return
            others = {name for other, name in last_clip.items() if other is not connection}
            mine = last_clip.get(connection)
            # the clip it has decoded already; else one that nobody has; else whatever is left
            pick = next((t for t in waiting if t.clip.name == mine), None)
            pick = pick or next((t for t in waiting if t.clip.name not in others), waiting[0])
            waiting.remove(pick)
            last_clip[connection], busy[connection] = pick.clip.name, pick
            connection.send(pick)

        for connection in self._connections:
            give(connection)
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                task = busy[ready]
                try:
                    kind, value = ready.recv()
                except (EOFError, OSError) as error:
                    raise EvaluationError(
                        f"the process that ran {task.method.name!r} on {task.clip.name!r} died; it may have run out of "
                        "memory: use fewer workers"
                    ) from error
                if kind == "frames":
                    on_frames(value)
                    continue
                if kind == "failed":
                    raise EvaluationError(f"{task.method.name!r} on {task.clip.name!r}: {value}")
                del busy[ready]
                give(ready)
                yield value


def _serve(connection: Connection, setup: Setup) -> None:
    """A process's life: takes tasks until nobody is there to give any."""
    import signal
    import warnings

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    warnings.simplefilter("ignore")
    kept: dict[str, Any] = {}
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = _run(task, setup, kept, lambda count: connection.send(("frames", count)))
        except FluxShardError as error:
            connection.send(("failed", str(error)))
        except BrokenPipeError:
            return
        except Exception as error:  # crosses to another process: as text, with where it happened
            connection.send(("failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
        else:
            connection.send(("done", result))


def _run(task: Task, setup: Setup, kept: dict[str, Any], on_frames: Callable[[int], None]) -> Finished:
    import torch

    from fluxshard.evaluate.data.masks import encode
    from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
    from fluxshard.evaluate.traces.tracing import trace_clip
    from fluxshard.models.loading.load import load
    from fluxshard.models.loading.sizes import network_shape
    from fluxshard.options import CompileOptions

    torch.set_num_threads(setup.threads)
    if "loaded" not in kept:
        kept["loaded"] = load(setup.weights, setup.task)
    loaded = kept["loaded"]
    clips = kept.setdefault("clips", {})
    if task.clip.name not in clips:
        with _first_frame(task.clip) as source:
            shape = network_shape(setup.size, source.picture_size, loaded)
        prepared = prepare(task.clip, shape, setup.max_frames)
        masks = None if prepared.annotations is None else tuple(encode(mask) for mask in prepared.annotations)
        clips[task.clip.name] = (shape, prepared, masks)
    shape, prepared, masks = clips[task.clip.name]
    subjects = kept.setdefault("subjects", {})
    if shape not in subjects:
        subjects[shape] = CompiledNetwork(loaded, shape, CompileOptions(backend=setup.backend))
    return Finished(task, trace_clip(task.method, subjects[shape], prepared, on_frames), masks)


def _first_frame(clip: Clip) -> Any:
    from fluxshard import video

    return video.open(clip.source, max_frames=1)
