"""Says what to install where a command needs more than the package itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fluxshard.errors import MissingExtraError


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Imports what a command needs.

    Args:
      extra: of this package that brings it.

    Raises:
      MissingExtraError: a package of others is not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("fluxshard"):
            raise
        raise MissingExtraError(f"{error.name} is not installed; run: pip install 'fluxshard[{extra}]'") from error
