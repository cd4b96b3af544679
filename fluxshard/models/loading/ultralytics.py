"""Ultralytics YOLO checkpoints (`pip install 'fluxshard[yolo]'`; the library is AGPL-3.0 and never required)."""

from __future__ import annotations

import copy
import importlib
import logging
import os
import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fluxshard.errors import ModelError, OptionError
from fluxshard.models.loading.checkpoint import identify, warn_of_code
from fluxshard.models.loading.loaded_model import MAP_TASKS, TASKS, HeadLayout, LoadedModel, Task

if TYPE_CHECKING:
    from torch import nn


def load(path: Path | str, task: str = "auto") -> LoadedModel:
    """Loads a `.pt` checkpoint of the Ultralytics library; warns that unpickling executes code of the file.

    Args:
      path: checkpoint.
      task: "auto" takes the checkpoint's task; "detect" ignores masks and keypoints; "raw" does not decode outputs.

    Raises:
      ModelError: the file is missing, damaged or of another kind, the model does not support the task, or the library
        is not installed.
      OptionError: there is no such task.
    """
    path = Path(path)
    if task not in ("auto", *TASKS):
        raise OptionError(f"task (={task!r}) must be one of auto, {', '.join(TASKS)}")
    kind = identify(path)
    if kind != "ultralytics":
        raise ModelError(
            f"weights: {str(path)!r} is not an Ultralytics checkpoint; "
            "read it with fluxshard.models.loading.generic.load"
        )
    warn_of_code(path)
    return _described(_read(path), task, f"weights: {str(path)!r}")


def is_yolo(given: object) -> bool:
    """Whether something is an object of the library's own interface, such as `ultralytics.YOLO`."""
    return any(base.__module__ == "ultralytics.engine.model" for base in type(given).__mro__)


def of_yolo(yolo: Any) -> LoadedModel:
    """The network of an `ultralytics.YOLO`, or of another object of that kind; a copy, which has the weights of now.

    Raises:
      ModelError: it has no network in torch, as where it was made of an exported file.
    """
    from torch import nn

    net, name = yolo.model, f"{type(yolo).__name__}({str(getattr(yolo, 'model_name', None) or '')!r})"
    if not isinstance(net, nn.Module):
        raise ModelError(f"{name} has no network in torch but {type(net).__name__} {net!r}; make it of a .pt or .yaml")
    return _described(_prepared(copy.deepcopy(net)), "auto", name)


def library(name: str) -> Any:
    """A module of the library, imported without its output, network access and changes of global state.

    Args:
      name: such as "ultralytics.engine.results".

    Raises:
      ImportError: the library, or what it needs for this module, is not there.
    """
    import numpy as np
    import torch
    from PIL import Image

    config = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fluxshard" / "ultralytics"
    try:
        config.mkdir(parents=True, exist_ok=True)
    except OSError:
        config = Path(tempfile.gettempdir())
    os.environ.setdefault("YOLO_CONFIG_DIR", str(config))
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    threads = os.environ.get("OMP_NUM_THREADS")
    printing, opening = np.get_printoptions(), Image.open
    try:
        found = importlib.import_module(name)
    finally:
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        np.set_printoptions(**printing)
        torch.set_printoptions(profile="default")
        Image.open = opening  # the library's replacement runs pip for plugins when a file is damaged
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    return found


def _described(net: nn.Module, task: str, where: str) -> LoadedModel:
    """A network with what its outputs mean.

    Raises:
      ModelError: it does not support the task.
    """
    own_task = str(getattr(net, "task", "raw"))
    if task == "auto":
        task = own_task if own_task in TASKS else "raw"
    if task not in ("raw", own_task) and not (task == "detect" and own_task in ("segment", "pose")):
        raise ModelError(f"{where} is a {own_task!r} model and cannot do {task!r}; use --task {own_task} or auto")
    names = getattr(net, "names", {})
    names = tuple(str(name) for name in (names.values() if isinstance(names, dict) else names))
    layout = _layout(net, own_task, cast(Task, task), len(names)) if task not in MAP_TASKS else None
    stride = getattr(net, "stride", None)
    return LoadedModel(
        net=net,
        task=cast(Task, task),
        layout=layout,
        names=names if task != "raw" else (),
        stride_px=int(max(stride)) if stride is not None else 32,
    )


def _layout(net: nn.Module, own_task: str, task: Task, classes: int) -> HeadLayout:
    """Layout of the outputs, from the attributes of the model's last module."""
    head: Any = list(cast(Any, net).model)[-1]
    shape = tuple(int(n) for n in head.kpt_shape) if own_task == "pose" else None
    return HeadLayout(
        task=task,
        classes=int(getattr(head, "nc", classes)),
        mask_channels=int(head.nm) if own_task == "segment" else 0,
        keypoint_shape=cast("tuple[int, int] | None", shape),
        is_end_to_end=bool(getattr(head, "end2end", False)),
    )


def _read(path: Path) -> nn.Module:
    """Loads the network of a checkpoint, with its head in export mode, in float32 and eval mode.

    Raises:
      ModelError: the checkpoint cannot be loaded.
    """
    import torch  # before ultralytics, which sets OMP_NUM_THREADS=1 for whatever loads OpenMP after it

    load_checkpoint = _import_loader()
    link: tempfile.TemporaryDirectory[str] | None = None
    source = path.resolve()
    try:
        if path.suffix.lower() != ".pt":  # the library insists on the suffix
            link = tempfile.TemporaryDirectory(prefix="fluxshard-")
            (Path(link.name) / "model.pt").symlink_to(source)
            source = Path(link.name) / "model.pt"
        net, _ = load_checkpoint(str(source))
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"weights: {str(path)!r} needs Python code that is not importable here ({error}); upgrade ultralytics"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, OSError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"weights: {str(path)!r} cannot be read: {text[:300]}") from error
    finally:
        if link is not None:
            link.cleanup()
    if not isinstance(net, torch.nn.Module):
        raise ModelError(f"weights: {str(path)!r} holds a {type(net).__name__}, not a model")
    return _prepared(net)


def _prepared(net: nn.Module) -> nn.Module:
    """The network itself with its head in export mode, in float32 and eval mode."""
    for module in net.modules():
        if hasattr(module, "export") and hasattr(module, "end2end"):
            # heads also return their undecoded feature maps, for training losses; here they would only be copied out
            cast(Any, module).export = True
            if callable(getattr(module, "fuse", None)):  # drops the one of two heads that is not used
                cast(Any, module).fuse()
    return net.requires_grad_(False).float().eval()


def _import_loader() -> Any:
    """`load_checkpoint` of the library.

    Raises:
      ModelError: the library cannot be imported.
    """
    try:
        return library("ultralytics.nn.tasks").load_checkpoint
    except ImportError as error:
        raise ModelError(
            f"weights: this is an Ultralytics checkpoint and the ultralytics package cannot be imported ({error}); "
            "run: pip install 'fluxshard[yolo]'"
        ) from error
