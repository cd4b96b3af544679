"""What one caller at a time may use: a second one at once is refused, before it touches anything."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from fluxshard.errors import StateError


class UsedAlone:
    """Has methods that are `alone`: memory that native code reads and writes is theirs until they return."""

    def __init__(self) -> None:
        self._using = threading.RLock()  # its thread may close what it uses, as a handler of a signal does
        self._in_use = False


User = TypeVar("User", bound=UsedAlone)
Given = ParamSpec("Given")
Result = TypeVar("Result")


def alone(method: Callable[Concatenate[User, Given], Result]) -> Callable[Concatenate[User, Given], Result]:
    """A method that nobody else's call of such a method runs beside; none of them calls another.

    Raises:
      StateError: one runs, in another thread or further up in this one.
    """

    @wraps(method)
    def one(self: User, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        if not self._using.acquire(blocking=False):
            raise _in_use()
        try:
            if self._in_use:
                raise _in_use()
            self._in_use = True
            try:
                return method(self, *args, **kwargs)
            finally:
                self._in_use = False
        finally:
            self._using.release()

    return one


def _in_use() -> StateError:
    return StateError(
        "session is in use, such as by a frame in another thread: use a stream's session for one thing after another, "
        "and make a session for every stream"
    )
