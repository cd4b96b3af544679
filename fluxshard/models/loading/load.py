"""Loading of weights files of all supported kinds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import cast

from fluxshard.errors import ModelError, OptionError
from fluxshard.models.loading import generic, saved, ultralytics
from fluxshard.models.loading.checkpoint import identify
from fluxshard.models.loading.loaded_model import MAP_TASKS, TASKS, LoadedModel, Task


def loaded_from(given: object) -> LoadedModel | None:
    """A network of which more is known than the network: from a path, or from an object of Ultralytics.

    Args:
      given: path of a weights file or saved model, an `ultralytics.YOLO`, or what `load` returned.

    Returns:
      the network; None where `given` is none of these.

    Raises:
      ModelError: as for `load`, or the object has no network.
    """
    if isinstance(given, LoadedModel):
        return given
    if isinstance(given, (str, os.PathLike)):
        return load(Path(given))
    return ultralytics.of_yolo(given) if ultralytics.is_yolo(given) else None


def load(path: Path | str, task: str = "auto") -> LoadedModel:
    """Loads a weights file of any supported kind, or a saved model.

    Args:
      path: weights file.
      task: "auto" or one of `TASKS`, as for `ultralytics.load`; networks of other libraries take "auto", which is
        "raw", and `MAP_TASKS`.

    Raises:
      ModelError: the file is missing, damaged or not a model, or the model does not support the task.
      OptionError: there is no such task.
    """
    path = Path(path)
    kind = identify(path)
    if kind == "saved":
        return saved.load(path, task)
    if kind == "ultralytics":
        return ultralytics.load(path, task)
    if task not in ("auto", *MAP_TASKS):
        if task not in TASKS:
            raise OptionError(f"task (={task!r}) must be one of auto, {', '.join(TASKS)}")
        raise ModelError(
            f"weights: task {task!r} needs an Ultralytics checkpoint; use --task {', '.join(MAP_TASKS[:-1])} or "
            f"{MAP_TASKS[-1]} for {str(path)!r}"
        )
    loaded = generic.load(path)
    return loaded if task == "auto" else replace(loaded, task=cast(Task, task))
