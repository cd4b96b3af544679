"""Placement records as JSON lines, each when nothing of its frame is under way any more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fluxshard.pipeline.json_values import plain


class PlacementLines:
    """One JSON object per frame that ran in two places, in order of frames.

    The line of a frame in `frames.jsonl` is written with its answer, when the endpoint that lost may still run it; here
    what that took is known, too.

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

    def write(self, placement: Mapping[str, Any]) -> None:
        """Appends a record.

        Args:
          placement: as `PlacementRecord.as_dict` gives it.

        Raises:
          OSError: the disk is full.
        """
        self._file.write(json.dumps(plain(placement), allow_nan=False) + "\n")
        self._file.flush()
