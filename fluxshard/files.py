"""Writing files."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file at once: who reads it meanwhile, or after a crash, sees the old content or the new one.

    Args:
      path: its folder exists; so does the right to make `<name>.part` in it.
      content: of the file.
    """
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
