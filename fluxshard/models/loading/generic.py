"""Models other than Ultralytics checkpoints: pickled nn.Modules and exported programs, whose task is "raw"."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluxshard.errors import ModelError
from fluxshard.models.loading.checkpoint import ALLOWED, identify, warn_of_code
from fluxshard.models.loading.loaded_model import LoadedModel

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def load(path: Path | str) -> LoadedModel:
    """Loads a whole nn.Module written by `torch.save`, or a `.pt2` program written by `torch.export.save`.

    Warns that unpickling a module executes code of the file. The task is "raw".

    Raises:
      ModelError: the file is missing or damaged, or contains neither.
    """
    path = Path(path)
    kind = identify(path)
    if kind == "exported":
        program = _load_exported(path)
        return LoadedModel(net=program, input_shape=_input_shape(program, path))
    if kind == "saved":
        raise ModelError(f"weights: {str(path)!r} is a saved model; read it with fluxshard.load")
    if kind == "ultralytics":
        raise ModelError(
            f"weights: {str(path)!r} is an Ultralytics checkpoint; "
            "read it with fluxshard.models.loading.ultralytics.load"
        )
    return LoadedModel(net=_load_module(path))


def _load_module(path: Path) -> Any:
    """Unpickles an nn.Module, in float32 and eval mode.

    Raises:
      ModelError: the file cannot be unpickled or does not contain an nn.Module.
    """
    import torch

    warn_of_code(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"weights: {str(path)!r} needs Python code that is not importable here ({error}); "
            "install the package that defines the model, or export it with torch.export.save"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, OSError) as error:
        raise ModelError(f"weights: {str(path)!r} cannot be read: {_one_line(error)}") from error
    if isinstance(content, dict):  # training checkpoints contain the model beside the optimizer
        content = next(
            (content[key] for key in ("ema", "model") if isinstance(content.get(key), torch.nn.Module)), content
        )
    if isinstance(content, torch.jit.ScriptModule) or not isinstance(content, torch.nn.Module):
        raise ModelError(f"weights: {str(path)!r} holds a {type(content).__name__}, not an nn.Module; {ALLOWED}")
    return content.float().eval()


def _load_exported(path: Path) -> ExportedProgram:
    """Loads an exported program.

    Raises:
      ModelError: the file cannot be read.
    """
    import torch

    try:
        return torch.export.load(path)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        OSError,
        EOFError,
        pickle.UnpicklingError,
        AssertionError,
    ) as error:
        raise ModelError(f"weights: {str(path)!r} cannot be read as an exported program: {_one_line(error)}") from error


def _input_shape(program: ExportedProgram, path: Path) -> tuple[int, int] | None:
    """(H, W) that an exported program is specialised to; None where either is dynamic.

    Raises:
      ModelError: the program does not take one image.
    """
    user_inputs = set(program.graph_signature.user_inputs)
    shapes = [
        tuple(node.meta["val"].shape)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in user_inputs and hasattr(node.meta.get("val"), "shape")
    ]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ModelError(
            f"weights: {str(path)!r} takes inputs of shapes {shapes}; one image of shape (1, 3, H, W) is allowed"
        )
    height, width = shapes[0][2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _one_line(error: BaseException) -> str:
    """First line of an error's message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
