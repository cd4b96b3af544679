"""Files of JSON lines that are written while things happen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fluxshard.pipeline.json_values import plain


class LineFile:
    """One JSON object per line; a line has reached the operating system when `append` returns. A context manager.

    Args:
      path: file to write, replaced if it exists.

    Raises:
      OSError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file."""
        if kind is None:
            self._file.close()
        else:
            with suppress(OSError):  # the first error is the one to tell
                self._file.close()

    def append(self, values: Mapping[str, Any]) -> None:
        """Appends a line.

        Raises:
          OSError: the disk is full.
        """
        self.append_text(line_of(values))

    def append_text(self, line: str) -> None:
        """Appends what `line_of` has made.

        Raises:
          OSError: the disk is full.
        """
        self._file.write(line)
        self._file.flush()


def line_of(values: Mapping[str, Any]) -> str:
    """A line of JSON, with its end."""
    return json.dumps(plain(values), allow_nan=False) + "\n"
