"""Saved models as networks with known outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from fluxshard.errors import ModelError, OptionError
from fluxshard.models.loading.loaded_model import MAP_TASKS, TASKS, HeadLayout, LoadedModel, Task
from fluxshard.ops.plan_network import PlanNetwork
from fluxshard.saved.saved_model import SavedModel, read_saved
from fluxshard.saved.weights import tensor_of


def load(path: Path | str, task: str = "auto") -> LoadedModel:
    """Reads a saved model; nothing in it is executed.

    Args:
      path: of the file.
      task: "auto" takes the file's own; "detect" ignores masks and keypoints; "raw" does not decode outputs. A
        file without a layout of detections takes any of `MAP_TASKS`.

    Raises:
      ModelError: the file is missing or damaged, or the model does not support the task.
      OptionError: there is no such task.
    """
    saved = read_saved(path)
    if task not in ("auto", *TASKS):
        raise OptionError(f"task (={task!r}) must be one of auto, {', '.join(TASKS)}")
    loaded = described(saved)
    if task in ("auto", loaded.task):
        return loaded
    if task == "raw":
        return replace(loaded, task="raw", layout=None, names=())
    if task in MAP_TASKS and loaded.layout is None:
        return replace(loaded, task=task)
    if loaded.layout is None or not (task == "detect" and loaded.task in ("segment", "pose")):
        raise ModelError(
            f"saved model {str(path)!r} is a {loaded.task!r} model and cannot do {task!r}; "
            f"use --task {loaded.task} or auto"
        )
    return replace(loaded, task="detect", layout=replace(loaded.layout, task="detect"))


def described(saved: SavedModel) -> LoadedModel:
    """What the outputs of a saved model mean.

    Raises:
      ModelError: the file does not say it.
    """
    try:
        return _outputs(saved)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"saved model {str(saved.path)!r} does not say what its outputs mean ({error}): export it again"
        ) from error


def plain_outputs(loaded: LoadedModel) -> dict[str, Any]:
    """What a file keeps of a loaded network besides the network, as JSON has it."""
    return {
        "task": loaded.task,
        "layout": None if loaded.layout is None else asdict(loaded.layout),
        "names": list(loaded.names),
        "stride_px": loaded.stride_px,
    }


def _outputs(saved: SavedModel) -> LoadedModel:
    known: Mapping[str, Any] = saved.outputs or {"task": "raw", "layout": None, "names": (), "stride_px": 1}
    layout = None
    if known["layout"] is not None:
        body = dict(known["layout"])
        keypoints = body.pop("keypoint_shape")
        layout = HeadLayout(
            **body, keypoint_shape=None if keypoints is None else (int(keypoints[0]), int(keypoints[1]))
        )
    if known["task"] not in TASKS or (layout is None) != (known["task"] in MAP_TASKS):
        raise ValueError(f"task {known['task']!r}")
    return LoadedModel(
        net=_network(saved),
        task=cast(Task, known["task"]),
        layout=layout,
        names=tuple(map(str, known["names"])),
        stride_px=max(1, int(known["stride_px"])),
        saved=saved,
    )


def _network(saved: SavedModel) -> nn.Module:
    return PlanNetwork(
        [(size.plan, {name: tensor_of(array) for name, array in size.weights.items()}) for size in saved.sizes]
    )
