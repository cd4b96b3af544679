"""Python's garbage collector while a command is imported."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def imported_for_good() -> Iterator[None]:
    """Nothing is collected while modules are imported here, and what they are made of is never looked through again.

    Torch and what needs it are a quarter of a million objects that stay: looking for garbage among them takes a fifth
    of the time that they take to import, and as long again in every full collection while frames run. A process that
    has torch already is left as it is.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
