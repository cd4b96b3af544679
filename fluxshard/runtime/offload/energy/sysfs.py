"""Reading the kernel's attribute files."""

from __future__ import annotations

from pathlib import Path


def read_number(path: Path) -> int:
    """A whole number.

    Raises:
      OSError: the file cannot be read, or holds something else.
    """
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        return int(text)
    except ValueError:
        raise OSError(f"{path} holds {text[:40]!r}, not a number") from None


def read_text(path: Path) -> str:
    """A line of text; empty where the file is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
