"""What a session does with its stream while no frame runs: it packs it away, and brings it back."""

from __future__ import annotations

from typing import Protocol

from torch import get_num_threads

from fluxshard.errors import StateError
from fluxshard.runtime.alone import UsedAlone, alone
from fluxshard.runtime.engines.engine import Engine, ParkingEngine, StreamState
from fluxshard.runtime.parking import Block, HoldsMemory, Parked, park


class Runs(Protocol):
    """What has an engine."""

    @property
    def engine(self) -> Engine:
        """It."""
        ...


class Idle(Protocol):
    """A stream that can be parked; `stream.Stream` is one, and `OrderedSession` another."""

    @property
    def program(self) -> Runs:
        """What runs it."""
        ...

    @property
    def state(self) -> StreamState:
        """The engine's memory."""
        ...

    @property
    def policy(self) -> HoldsMemory:
        """What holds the rest of its memory: what decides its work."""
        ...


class Parking(UsedAlone):
    """The part of a session that parks its stream. One thread at a time has the stream."""

    def __init__(self) -> None:
        super().__init__()
        self._parked: Parked | None = None

    @property
    def parked(self) -> bool:
        """The stream is packed away (`park`)."""
        return self._parked is not None

    @property
    def parked_bytes(self) -> int:
        """What the stream takes while it is parked; 0 where it is not."""
        parked = self._parked  # once: another thread may bring it back
        return 0 if parked is None else parked.n_bytes

    @property
    def can_park(self) -> bool:
        """There is a stream that has run a frame, is not parked, and has a backend that can park it."""
        try:
            return self._parked is None and isinstance(self._ran().program.engine, ParkingEngine)
        except StateError:
            return False

    @alone
    def park(self, *, threads: int | None = None) -> None:
        """Packs an idle stream away, to take less memory: `zstandard` packs best, where it is installed.

        The next frame brings it back, and gives the bits that it would have given. So does whatever else asks for what
        the stream holds.

        Args:
          threads: that work at it; None for as many as torch has.

        Raises:
          StateError: the session is closed, is parked already, has run no frame, or is used in another thread; or its
            backend cannot park streams.
        """
        stream = self._ran()
        if self._parked is not None:
            raise StateError("session is parked already: run a frame, or call unpark(), before you park it again")
        engine = stream.program.engine
        if not isinstance(engine, ParkingEngine):
            raise StateError(f"streams of backend {engine.name!r} cannot be parked: close the session instead")
        blocks = [*engine.blocks(stream.state), *map(Block, stream.policy.memory())]
        self._parked = park(blocks, threads or get_num_threads())

    @alone
    def unpark(self) -> None:
        """Brings a parked stream back now, not with its next frame; does nothing where it is not parked.

        Raises:
          StateError: the session is used in another thread.
        """
        self._unpark()

    def _unpark(self) -> None:
        """The same, for methods that are `alone` themselves."""
        parked, self._parked = self._parked, None
        if parked is not None:
            parked.restore(get_num_threads())

    def _forget_parked(self) -> None:
        self._parked = None

    def _ran(self) -> Idle:
        """The stream, which has run a frame.

        Raises:
          StateError: there is none.
        """
        raise NotImplementedError
