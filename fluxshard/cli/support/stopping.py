"""Ends a run when the user or the system asks: between two frames, or by undoing what it has made."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self


class Stopping:
    """While it is entered, the first SIGINT or SIGTERM is noted and a second one raises KeyboardInterrupt at once.

    Attributes:
      signal: the number of the signal that came first; None while none has.
      leader: what is entered in the main thread, where this is of a run in another: it has no signals of its own.
    """

    def __init__(self, leader: Stopping | None = None) -> None:
        self._signal: int | None = None
        self._leader = leader
        self._before: dict[int, Any] = {}

    @property
    def signal(self) -> int | None:
        """See above."""
        return self._signal if self._leader is None else self._leader.signal

    @signal.setter
    def signal(self, number: int | None) -> None:
        self._signal = number

    def __enter__(self) -> Self:
        if self._leader is not None:
            return self
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """Exit status that a shell reports for a process ended by the signal; 0 without one."""
        return 0 if self.signal is None else 128 + self.signal

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextlib.contextmanager
def undone_on_sigterm() -> Iterator[None]:
    """SIGTERM raises SystemExit inside, once: processes and networks that were made there are taken down."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not stop that
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
