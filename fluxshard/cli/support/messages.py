"""Messages for warnings and for failures of a GPU: one line each."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console

import fluxshard
from fluxshard.errors import DeviceError, DeviceMemoryError

EMULATED_NOTE = "note: CUDA kernels run on the processor, in an emulator: this is for checking them, and takes long"


@contextlib.contextmanager
def warnings_as_notes(console: Console) -> Iterator[None]:
    """Shows this package's warnings as one-line notes, each text once; hides those of other packages."""
    seen: set[str] = set()
    own = Path(fluxshard.__file__).parent
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], filename: str, *rest: object, **named: object) -> None:
        text = " ".join(str(message).split())
        if text not in seen and own in Path(filename).parents:
            seen.add(text)
            console.print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = note
        try:
            yield
        finally:
            warnings.showwarning = show


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Turns what torch says of a GPU into errors of this package.

    Raises:
      DeviceMemoryError: the GPU has no memory left.
      DeviceError: it stopped working for this process.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(f"{_first_line(error)}: use a smaller --size, --dtype or network") from error
    except torch.AcceleratorError as error:
        raise DeviceError(f"the GPU stopped working for this process ({_first_line(error)}): start again") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
