"""Pool of worker processes that run methods over clips; each caches its network and decoded clips between tasks."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from fluxshard import video
from fluxshard.errors import EvaluationError, FluxShardError
from fluxshard.evaluate.data.clips import Clip, PreparedClip, prepare
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method import Method
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.options import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Settings shared by all tasks of a pool.

    Attributes:
      weights: weights file of the network.
      task: as for `models.loading.load`.
      size: image size, as for `models.loading.sizes.network_shape`; None for the default.
      backend: as in `CompileOptions`.
      max_frames: maximum number of frames per clip; None for all.
      threads: torch threads per process.
      encoded: clips are seen as H.264 of the image's size, see `prepare`.
    """

    weights: Path
    task: str = "auto"
    size: str | None = None
    backend: Backend = "auto"
    max_frames: int | None = None
    threads: int = 1
    encoded: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One method on one clip."""

    method: Method
    clip: Clip


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """Result of a task.

    Attributes:
      task: method and clip.
      trace: trace of the method on the clip.
      annotations: COCO run lengths of the annotated object per frame; None without annotations.
    """

    task: Task
    trace: Trace
    annotations: tuple[str, ...] | None


class WorkerPool:
    """Worker processes that run tasks; a context manager that terminates them on exit.

    Args:
      setup: settings shared by all tasks.
      workers: number of processes; None starts one per processor.
      tasks: largest number of tasks at once; no more processes than that are started.
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

    def run(self, tasks: Sequence[Task], on_frames: Callable[[int], None] = lambda _: None) -> Iterator[FinishedTask]:
        """Runs tasks and yields their results as they finish.

        Tasks of one clip go to the same process unless another process would be idle.

        Args:
          tasks: tasks to run.
          on_frames: receives the number of frames done since its last call.

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
            # the clip that this process has decoded; else one that no other process has; else any
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


@dataclass(slots=True)
class _Cache:
    """State of a worker process between tasks.

    Attributes:
      loaded: network as read from its file; None before the first task.
      clips: shape of the network's input, decoded clip and run lengths of its annotations, by clip name.
      networks: network by input shape.
    """

    loaded: LoadedModel | None = None
    clips: dict[str, tuple[tuple[int, int], PreparedClip, tuple[str, ...] | None]] = field(default_factory=dict)
    networks: dict[tuple[int, int], CompiledNetwork] = field(default_factory=dict)


def _serve(connection: Connection, setup: Setup) -> None:
    """Main loop of a worker process: runs tasks until the parent closes the connection."""
    import signal
    import warnings

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent terminates workers
    warnings.simplefilter("ignore")
    cache = _Cache()
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = _run(task, setup, cache, lambda count: connection.send(("frames", count)))
        except FluxShardError as error:
            connection.send(("failed", str(error)))
        except BrokenPipeError:
            return
        except Exception as error:  # tracebacks do not pickle: sent to the parent as text
            connection.send(("failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
        else:
            connection.send(("done", result))


def _run(task: Task, setup: Setup, cache: _Cache, on_frames: Callable[[int], None]) -> FinishedTask:
    """Runs one task, loading and decoding what is not in the cache yet."""
    import torch

    from fluxshard.evaluate.data.masks import encode
    from fluxshard.evaluate.traces.tracing import trace_clip
    from fluxshard.models.loading.load import load
    from fluxshard.models.loading.sizes import network_shape
    from fluxshard.options import CompileOptions

    torch.set_num_threads(setup.threads)
    if cache.loaded is None:
        cache.loaded = load(setup.weights, setup.task)
    if task.clip.name not in cache.clips:
        with video.open(task.clip.source, max_frames=1) as source:
            shape = network_shape(setup.size, source.shown_size, cache.loaded)
        prepared = prepare(task.clip, shape, setup.max_frames, encoded=setup.encoded)
        masks = None if prepared.annotations is None else tuple(encode(mask) for mask in prepared.annotations)
        cache.clips[task.clip.name] = (shape, prepared, masks)
    shape, prepared, masks = cache.clips[task.clip.name]
    if shape not in cache.networks:
        cache.networks[shape] = CompiledNetwork(cache.loaded, shape, CompileOptions(backend=setup.backend))
    return FinishedTask(task, trace_clip(task.method, cache.networks[shape], prepared, on_frames), masks)
