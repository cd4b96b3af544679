"""Messages for warnings and for failures of a GPU: one line each."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console

import fluxshard
from fluxshard.errors import DeviceError, DeviceMemoryError

EMULATED_NOTE = "note: CUDA kernels run on the processor, in an emulator: this is for checking them, and takes long"


@contextlib.contextmanager
def warnings_as_notes(console: Console) -> Iterator[None]:
    """Shows this package's warnings, and what it logs as one, as one-line notes, each text once; hides all others."""
    seen: set[str] = set()
    own = Path(fluxshard.__file__).parent
    show = warnings.showwarning

    def tell(message: object) -> None:
        text = " ".join(str(message).split())
        if text not in seen:
            seen.add(text)
            console.print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)

    def note(message: Warning | str, category: type[Warning], filename: str, *rest: object, **named: object) -> None:
        if own in Path(filename).parents:
            tell(message)

    log, handler = logging.getLogger(fluxshard.__name__), _NoteHandler(tell)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = note
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
            warnings.showwarning = show


class _NoteHandler(logging.Handler):
    """Hands warnings of a log to a function, as text."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


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
