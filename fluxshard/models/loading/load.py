"""One way in for all kinds of weights files."""

from __future__ import annotations

from pathlib import Path

from fluxshard.errors import ModelError
from fluxshard.models.loading import generic, ultralytics
from fluxshard.models.loading.checkpoint import identify
from fluxshard.models.loading.loaded_model import LoadedModel


def load(path: Path | str, task: str = "auto") -> LoadedModel:
    """Reads a weights file of any kind that can be compiled.

    Raises:
      ModelError: the file is missing, damaged, or not a model; or it cannot do the task.
      OptionError: a task that is not allowed.
    """
    path = Path(path)
    if identify(path) == "ultralytics":
        return ultralytics.load(path, task)
    if task not in ("auto", "raw"):
        raise ModelError(f"weights: task {task!r} needs an Ultralytics checkpoint; use --task raw for {str(path)!r}")
    return generic.load(path)
