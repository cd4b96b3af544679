"""Replaces files atomically."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replaces a file atomically: a reader, also one after a crash, finds the old content or the new, never a part.

    Processes and threads may write one path at the same time; the last to finish wins. Unless a mode is given, a new
    file gets the permissions that `open` would give it, and an existing one keeps its own. A symbolic link keeps
    pointing where it does.

    Args:
      path: in a directory that exists and in which files may be made: the content is first written beside it.
      content: the whole file.
      mode: permissions, such as 0o600 for what others must not read; no other user can open the content before it has
        them.

    Raises:
      OSError: the content cannot be written, or the path is a directory; whatever stood at the path is unchanged.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        made_with = 0o666 if mode is None else mode & 0o600  # the rest of a mode is given below, whatever the umask
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, made_with), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            else:
                with suppress(FileNotFoundError):
                    os.chmod(part, stat.S_IMODE(target.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a crash could leave the new name with no content
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
