"""Directory of the traces of an evaluation; file names identify everything that a trace depends on."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.method import Method
from fluxshard.evaluate.traces.workers import Setup, Task

TRACES = "traces"


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """Place of a task's trace, whether the file exists yet or not.

    Attributes:
      task: method and clip.
      path: file of the trace.
    """

    task: Task
    path: Path


class TraceStore:
    """Traces of one evaluation, one file per method and clip.

    Args:
      setup: settings shared by all tasks.
      out: directory of the evaluation; traces are in its subdirectory `traces`.
    """

    def __init__(self, setup: Setup, out: Path) -> None:
        self._folder = out / TRACES
        self._digest = _digest_of(setup)

    def locate(self, method: Method, clip: Clip) -> StoredTrace:
        """Place of the trace of a method on a clip."""
        source = str(clip.source.resolve())
        facts = json.dumps([method.name, dict(method.facts), source, self._digest], sort_keys=True, default=str)
        slug = re.sub(r"[^a-z0-9.=-]+", "-", method.name.lower()).strip("-")
        name = f"{slug}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.json.gz"
        return StoredTrace(Task(method, clip), self._folder / clip.name / name)


def _digest_of(setup: Setup) -> str:
    """Digest of the settings that results depend on, and of the content of the weights file."""
    body: dict[str, Any] = asdict(setup)
    del body["threads"]  # changes time, not results
    if not body["encoded"]:
        del body["encoded"]  # as before it was there: stored traces keep their names
    weights = Path(setup.weights)
    body["weights"] = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else str(weights)
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
