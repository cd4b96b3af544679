"""Names of classes from a file, for networks that do not bring them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import LoadedModel

_MOST_NAMES = 100_000


def with_names(loaded: LoadedModel, path: Path | None) -> LoadedModel:
    """The model with the names of a file; without a file as it is.

    Args:
      loaded: as read from its file.
      path: see `read_names`.

    Raises:
      OptionError: the file cannot be read, or has no names.
    """
    return loaded if path is None else replace(loaded, names=read_names(path))


def read_names(path: Path) -> tuple[str, ...]:
    """Reads a text file with a name per line, class 0 first; empty lines at the end are left out.

    Raises:
      OptionError: the file cannot be read, is no UTF-8 text, or has no names.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise OptionError(
            f"--names (={str(path)!r}) cannot be read: {why}; give a text file with a name per line"
        ) from error
    while names and not names[-1]:
        names.pop()
    if not 0 < len(names) <= _MOST_NAMES:
        raise OptionError(
            f"--names (={str(path)!r}) has {len(names)} names; 1 to {_MOST_NAMES} are allowed, one per line"
        )
    return tuple(names)
