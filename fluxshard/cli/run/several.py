"""`fluxshard run a b c`: several sources at once, in one process, with one network and a directory each."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from fluxshard.cli.run.output_directory import files_of, prepare_directory
from fluxshard.cli.run.run_command import (
    RunRequest,
    check,
    compiled_for,
    for_network,
    note_network,
    run_source,
)
from fluxshard.cli.run.sources import Probed, SourceNotes, probe
from fluxshard.cli.support.apart import check_apart
from fluxshard.cli.support.messages import device_errors, warnings_as_notes
from fluxshard.cli.support.network_flags import PreparedModel
from fluxshard.cli.support.reuse_flags import RunReuse, with_saved_profile
from fluxshard.cli.support.stopping import Stopping
from fluxshard.errors import FluxShardError, OptionError
from fluxshard.models.loading.load import load
from fluxshard.models.loading.names import with_names
from fluxshard.models.loading.sizes import network_shape

_FAILED = 1
_LONGEST_NAME = 40
_WAIT_S = 0.2  # how often it is looked for signals


@dataclass(slots=True, kw_only=True)
class _Run:
    """One of several runs."""

    request: RunRequest
    name: str
    probed: Probed
    model: PreparedModel | None = None
    code: int = 0


def run_several(request: RunRequest, videos: Sequence[str]) -> int:
    """Runs a model over several sources at once and writes what came out: a directory in `request.out` for each.

    Sources whose images have one size share a compiled network. A source that fails ends alone.

    Args:
      request: what is wanted of each; its `video` does not count.
      videos: at least two.

    Returns:
      the exit status: 0, 128 plus the signal that ended the runs early, or 1 where one of them failed.

    Raises:
      FluxShardError, OSError: one of them cannot begin.
    """
    if request.dense:
        raise OptionError("--compare dense measures, and is for one video at a time: give one, or leave it out")
    reuse = check(request)
    notes, screen = Console(highlight=False), Console(stderr=True, highlight=False)
    with ExitStack() as sources, warnings_as_notes(notes), device_errors():
        runs = []
        for video, name in zip(videos, names_of(videos), strict=True):
            one = replace(request, video=video, out=request.out / name)
            runs.append(_Run(request=one, name=name, probed=sources.enter_context(probe(one.source))))
        for run in runs:
            check_apart(files_of(run.request.out), (*videos, request.model, request.reuse.profile))
        for run in runs:
            prepare_directory(run.request.out, request.overwrite)
        loaded = with_names(load(request.model, request.task), request.names)
        reuse = for_network(with_saved_profile(request.reuse, reuse, loaded), loaded)
        models: dict[tuple[int, int], PreparedModel] = {}
        for run in runs:
            shape = network_shape(request.size, run.probed.shown_size, loaded)
            if shape not in models:
                models[shape] = compiled_for(request, reuse, loaded, shape, screen)
            run.model = models[shape]
        note_network(request, reuse, next(iter(models.values())), notes)
        with Stopping() as stopping:
            _all(runs, reuse, stopping, notes)
    return stopping.exit_code or max(run.code for run in runs)


def names_of(videos: Sequence[str]) -> list[str]:
    """Names of directories for sources: their number and what is recognised of them."""
    width = len(str(len(videos)))
    return [f"{number:0{width}}-{_short(video)}" for number, video in enumerate(videos, 1)]


def _short(video: str) -> str:
    parts = urlsplit(video) if "://" in video else None
    # of a URL neither user nor password, which belong into no name of a file
    text = Path(video).stem if parts is None else f"{parts.hostname or ''}{parts.path}"
    return re.sub(r"[^\w.-]+", "_", text).strip("._-")[:_LONGEST_NAME] or "source"


class _Desk:
    """Does in the main thread what others ask for: what draws figures keeps fonts open for each thread."""

    def __init__(self) -> None:
        self._asked: queue.Queue[tuple[Callable[[], dict[str, Any]], Future[dict[str, Any]]]] = queue.Queue()

    def finish(self, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Has it done, and returns what comes of it; in a thread of a run."""
        done: Future[dict[str, Any]] = Future()
        self._asked.put((write, done))
        return done.result()

    def work(self, wait_s: float) -> None:
        """Does what has been asked for; in the main thread."""
        with suppress(queue.Empty):
            write, done = self._asked.get(timeout=wait_s)
            try:
                done.set_result(write())
            except Exception as error:  # for whoever asked
                done.set_exception(error)


def _all(runs: Sequence[_Run], reuse: RunReuse, stopping: Stopping, notes: Console) -> None:
    """Runs all of them, each in a thread, until the last has ended."""
    desk = _Desk()
    quiet = Console(stderr=True, highlight=False, force_terminal=False)  # bars of several would overwrite each other

    def work(run: _Run) -> None:
        assert run.model is not None
        told = SourceNotes(notes, run.name)
        try:
            run.code = run_source(
                run.request, reuse, run.model, run.probed, told, notes=notes, screen=quiet,
                stopping=Stopping(stopping), finish=desk.finish,
            )  # fmt: skip
        except (FluxShardError, OSError, MemoryError) as error:
            run.code = _FAILED
            text = " ".join((str(error) or type(error).__name__).split())
            notes.print(f"{run.name}: error: {text}", style="red", markup=False, soft_wrap=True)

    threads = [threading.Thread(target=work, args=(run,), name=f"fluxshard-{run.name}", daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    with suppress(KeyboardInterrupt):  # asked twice
        while any(thread.is_alive() for thread in threads):
            desk.work(_WAIT_S)
    for thread in threads:
        thread.join(0)
