"""SIGTERM and SIGINT of a server: the first asks it to drain, the second ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Takes the signals of the running event loop's process while it is entered.

    Args:
      at_once: is called before the second signal ends the process.

    Attributes:
      asked: set by the first signal.
    """

    def __init__(self, at_once: Callable[[], object]) -> None:
        self._at_once, self._loop = at_once, asyncio.get_running_loop()
        self.asked = asyncio.Event()

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._take, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _SIGNALS:
            self._loop.remove_signal_handler(number)

    def _take(self, number: int) -> None:
        if not self.asked.is_set():
            self.asked.set()
            return
        self._at_once()
        signal.signal(number, signal.SIG_DFL)  # so that whoever waits for the process sees what ended it
        os.kill(os.getpid(), number)
