"""Replaces files atomically."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file atomically: a reader, also one after a crash, finds the old content or the new, never a part.

    Processes and threads may write one path at the same time; the last to finish wins. A new file gets the permissions
    that `open` would give it, an existing one keeps its own, and a symbolic link keeps pointing where it does.

    Args:
      path: in a directory that exists and in which files may be made: the content is first written beside it.
      content: the whole file.

    Raises:
      OSError: the content cannot be written, or the path is a directory; whatever stood at the path is unchanged.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            with suppress(FileNotFoundError):
                os.chmod(part, stat.S_IMODE(target.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a crash could leave the new name with no content
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
