"""Identification of weights files without executing them.

A checkpoint of a whole model is a pickle, and unpickling executes code of the file. Only the names that the pickle
refers to are read here, so that unsupported files are rejected before any of their code runs.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from fluxshard.errors import ModelError, warn
from fluxshard.saved.container import SUFFIX, is_container

Kind = Literal["ultralytics", "module", "exported", "saved"]

ALLOWED = (
    "allowed are Ultralytics .pt checkpoints, files that torch.save wrote of a whole nn.Module, "
    "torch.export .pt2 programs, and saved .fluxshard models"
)
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # header of torch.save before its zip format
# modules that pickles of plain tensors refer to; any other one means that a class instance is stored
PLAIN_MODULES = frozenset(
    {
        "torch",
        "torch._utils",
        "torch.serialization",
        "torch.storage",
        "torch._tensor",
        "collections",
        "builtins",
        "__builtin__",
    }
)
PLAIN_PREFIXES = ("numpy", "_codecs")


def identify(path: Path) -> Kind:
    """Identifies the kind of a weights file; nothing in it is executed.

    Returns:
      "ultralytics": Ultralytics checkpoint; "module": other pickled nn.Module; "exported": `torch.export` program;
      "saved": what `CompiledModel.save` wrote, or what is named as if it were.

    Raises:
      ModelError: the file is missing, a directory, unreadable, damaged, or of a kind that cannot be compiled.
    """
    try:
        if path.is_dir():
            raise ModelError(f"weights: {str(path)!r} is a directory; {ALLOWED}")
        with path.open("rb") as file:
            if file.read(1) == b"":
                raise ModelError(f"weights: {str(path)!r} is empty; {ALLOWED}")
            if path.suffix.lower() == ".onnx":
                raise ModelError(f"weights: {str(path)!r} is an ONNX file, which cannot be compiled; {ALLOWED}")
            # by its name, too: what is wrong with a truncated or foreign one is for its reader to say
            if path.suffix.lower() == SUFFIX or is_container(path):
                return "saved"
            names = _pickled_modules(file, path)
    except FileNotFoundError:
        raise ModelError(f"weights: {str(path)!r} does not exist; {ALLOWED}") from None
    except OSError as error:
        raise ModelError(f"weights: {str(path)!r} cannot be read: {error.strerror or error}") from error
    if names is None:
        return "exported"
    if any(name.split(".")[0] == "ultralytics" for name in names):
        return "ultralytics"
    if all(name in PLAIN_MODULES or name.startswith(PLAIN_PREFIXES) for name in names):
        raise ModelError(
            f"weights: {str(path)!r} holds tensors only (a state_dict), not a model; "
            "build the model in Python, load the state_dict into it and call fluxshard.compile, "
            "or torch.save the whole model"
        )
    return "module"


def warn_of_code(path: Path) -> None:
    """Warns that unpickling a model executes code of the file."""
    warn(
        f"loading {path.name} runs Python code stored in the file; load only weights from a source that you trust",
        UserWarning,
    )


def _pickled_modules(file: BinaryIO, path: Path) -> frozenset[str] | None:
    """Names of the modules that the pickles of a checkpoint refer to; None for exported programs, which have none.

    Raises:
      ModelError: the file is damaged or not a checkpoint of a model.
    """
    file.seek(0)
    head = file.read(len(LEGACY_MAGIC))
    file.seek(0)
    try:
        if head.startswith(b"PK"):
            with zipfile.ZipFile(file) as archive:
                members = archive.namelist()
                if any(name.endswith(("/models/model.json", "serialized_exported_program.json")) for name in members):
                    return None
                if any("/code/" in name for name in members) and any(
                    name.endswith("constants.pkl") for name in members
                ):
                    raise ModelError(
                        f"weights: {str(path)!r} is a TorchScript program, which cannot be compiled; {ALLOWED}"
                    )
                pickles = [name for name in members if name.endswith("data.pkl")]
                if not pickles:
                    raise ModelError(f"weights: {str(path)!r} is an archive without a PyTorch model; {ALLOWED}")
                with archive.open(pickles[0]) as stream:
                    return frozenset(_globals(stream.read(), pickles=1))
        if head == LEGACY_MAGIC:
            return frozenset(_globals(file.read(), pickles=4))  # magic, version, system, object
    except (zipfile.BadZipFile, EOFError, ValueError, IndexError, KeyError, NotImplementedError) as error:
        raise ModelError(f"weights: {str(path)!r} is damaged ({error}); download or save it again") from error
    raise ModelError(f"weights: {str(path)!r} is not a PyTorch file; {ALLOWED}")


def _globals(data: bytes, pickles: int) -> Iterator[str]:
    """Module names in the GLOBAL and STACK_GLOBAL opcodes of the given number of consecutive pickles."""
    start = 0
    for _ in range(pickles):
        strings: list[str] = []
        for opcode, argument, position in pickletools.genops(data[start:]):
            if opcode.name == "GLOBAL":
                yield str(argument).split(" ")[0]
            elif opcode.name == "STACK_GLOBAL":
                yield from strings[-2:-1] or ["?"]
            elif isinstance(argument, str) and "PUT" not in opcode.name:
                strings.append(argument)
            if opcode.name == "STOP" and position is not None:
                end = start + position + 1
        start = end
