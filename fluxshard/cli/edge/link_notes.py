"""Tells people when the link to the server opens and when it is lost."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console

from fluxshard.cloud.edge.connection.link import LinkState


class LinkNotes:
    """One line for every change of the link, from any thread; none after the run has ended.

    Args:
      console: to print to.
      away: what becomes of frames while there is no server.
      computes: this machine computes as well, so that results of both are compared.
    """

    def __init__(self, console: Console, *, away: str = "frames run here only", computes: bool = True) -> None:
        self._console, self._away, self._computes = console, away, computes
        self._lock = threading.Lock()
        self._open = True
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._open = False

    def tell(self, state: LinkState) -> None:
        """Prints what has become of the link."""
        if state.is_open and state.welcome is not None:
            welcome = state.welcome
            line = f"note: the server is there: {welcome.backend} {welcome.dtype} on {welcome.device}"
            if self._computes and not welcome.same_compute:
                line += "; it computes with other instructions than this machine: results differ by rounding"
        else:
            line = f"note: {self._away}: {state.reason}"
        with self._lock:
            if self._open and line != self._last:
                self._last = line
                self._console.print(line, style="yellow", markup=False, soft_wrap=True)
