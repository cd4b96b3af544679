"""Reads files that hold certificates, keys and secrets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fluxshard.errors import SecurityError, warn

MAX_BYTES = 1 << 20  # a bundle of all public authorities has a quarter of that


def read_bounded(path: Path, *, secret: bool = False) -> bytes:
    """The whole content of a file.

    Args:
      path: of the file.
      secret: warn where every user of the machine can open it.

    Raises:
      SecurityError: it cannot be read, or has more than `MAX_BYTES`.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SecurityError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise SecurityError(f"{path} has more than {MAX_BYTES} bytes: it is no certificate, key or secret")
    if secret and mode & (stat.S_IROTH | stat.S_IWOTH):
        warn(f"every user of this machine can open {path}, which must be secret: chmod 600 it, and make it anew")
    return content
