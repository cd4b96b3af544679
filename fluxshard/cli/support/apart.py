"""Keeps what a command writes apart from what it reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fluxshard.errors import OptionError

_SHOWN = (".png", ".mp4")
_FILE = "file:"  # FFmpeg's way to say that a name is a file's


def check_apart(outputs: Iterable[Path], inputs: Iterable[str | Path | None], flag: str = "--out") -> None:
    """Refuses to write what is read: the same file under any name, or a picture or video into a directory of them.

    Args:
      outputs: files that are written, or directories that take them.
      inputs: files, directories of pictures, and sources that are no files, such as URLs and camera numbers; None is
        left out.
      flag: that says where the outputs are.

    Raises:
      OptionError: one of the outputs is one of the inputs, or lies in a directory that is one.
    """
    written = [Path(output) for output in outputs]
    for given in inputs:
        path = None if given is None else _path(given)
        if path is None:
            continue
        for output in written:
            if _same(output, path):
                raise OptionError(
                    f"{flag} would replace {str(path)!r}, which is read: give another name, or move one of them"
                )
            if output.suffix.lower() in _SHOWN and path.is_dir() and _same(output.parent, path):
                raise OptionError(
                    f"{flag} would write {output.name!r} into {str(path)!r}, whose files are read: give another one"
                )


def _path(given: str | Path) -> Path | None:
    """The file or directory that is meant; None where it is none, or not there."""
    text = str(given)
    if text.startswith(_FILE):
        text = text[len(_FILE) :]
        text = "/" + text.lstrip("/") if text.startswith("//") else text
    try:
        return Path(text) if text and os.path.exists(text) else None
    except (OSError, ValueError):  # a URL that is no name of a file
        return None


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there
        return False
