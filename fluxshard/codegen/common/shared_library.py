"""Loading generated libraries, and the memory that their states live in. No torch."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import CompileTimeError


def load_library(path: Path, prefix: str, args: type[ctypes.Structure]) -> ctypes.CDLL:
    """Loads a library that says how large its state and its arguments are.

    Args:
      path: of the library.
      prefix: of the functions `<prefix>_state_bytes` and `<prefix>_args_bytes`.
      args: mirror of its struct of arguments.

    Raises:
      CompileTimeError: the library takes arguments of another size.
    """
    library = ctypes.CDLL(str(path))
    for name in (f"{prefix}_state_bytes", f"{prefix}_args_bytes"):
        getattr(library, name).restype = ctypes.c_uint64
    found = library[f"{prefix}_args_bytes"]()
    if found != ctypes.sizeof(args):
        raise CompileTimeError(
            f"{path} takes arguments of {found} bytes, not {ctypes.sizeof(args)}: delete this cache entry"
        )
    return library


def zeroed(n_bytes: int) -> NDArray[np.uint8]:
    """Zeroed memory, 64-byte aligned."""
    raw = np.zeros(n_bytes + 64, np.uint8)
    shift = -raw.ctypes.data % 64
    return raw[shift : shift + n_bytes]
