"""The frames of a source that is opened again whenever it breaks off."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from fluxshard.errors import VideoError
from fluxshard.video.frame import Frame
from fluxshard.video.live.backoff import Backoff
from fluxshard.video.live.options import LiveOptions
from fluxshard.video.live.stats import LiveCounts, State
from fluxshard.video.sources.video_source import VideoSource

_log = logging.getLogger(__name__)
_STEADY_DELAYS = 4  # a connection that has lasted so many first delays has worked


class Reconnecting:
    """Frames over any number of connections: numbered and timed as those of one.

    Between connections, times are those of this machine's clock.

    Args:
      first: connection, open.
      again: opens another.
      options: how to go on.
      counts: to fill.
      changed: told of each change of state, in the thread that takes the frames.
    """

    def __init__(
        self,
        first: VideoSource,
        again: Callable[[], VideoSource],
        options: LiveOptions,
        counts: LiveCounts,
        changed: Callable[[], None],
    ) -> None:
        self._source, self._again, self._options = first, again, options
        self._counts, self._changed = counts, changed
        self._stop, self._resumed = threading.Event(), threading.Event()
        self._resumed.set()
        self._backoff = Backoff(options.first_delay_s, options.most_delay_s)
        self._next_index = self._next_packet = 0
        self._start_s: float | None = None  # when time 0 was, on this machine's clock
        self._time_s, self._arrived_s = 0.0, time.monotonic()  # of the last frame
        self._damaged = 0  # of the connection that is open, as far as counted

    def stop(self) -> None:
        """Ends the frames, after the one that is read now."""
        self._stop.set()
        self._resumed.set()

    def pause(self) -> None:
        """Closes the connection after the frame that is read now, until `resume`."""
        self._resumed.clear()

    def resume(self) -> None:
        """Opens the source again."""
        self._resumed.set()

    def request_keyframe(self) -> bool:
        """As for `VideoSource`, of the connection that is open."""
        return self._source.request_keyframe()

    def __iter__(self) -> Iterator[Frame]:
        """Yields frames until somebody stops them, or the source ends.

        Raises:
          VideoError: the source broke off, and is not to be opened again.
        """
        self._counts.add(connections=1)
        gap = False
        while True:
            opened_s = time.monotonic()
            error: VideoError | None = None
            try:
                yield from self._connection(gap)
            except VideoError as broken:
                error = broken
            finally:
                self._source.close()
                self._count_damage()
            if self._stop.is_set():
                break
            if not self._resumed.is_set():
                self._wait_paused()
                gap = False
            elif self._goes_on(error):
                if time.monotonic() - opened_s >= _STEADY_DELAYS * self._options.first_delay_s:
                    self._backoff.reset()
                self._tell("connecting", str(error or "the connection was closed"))
                gap = True
                if self._delay():
                    break
            else:
                self._counts.state("ended", None if error is None else str(error))
                if error is not None:
                    raise error
                return
            if not self._reopen():
                break
        self._counts.state("ended")

    def _connection(self, gap: bool) -> Iterator[Frame]:
        """Frames of the connection that is open."""
        shift_s, index, packet = 0.0, self._next_index, self._next_packet
        first = True
        for frame in self._source:
            if first and self._start_s is None:
                self._start_s = frame.captured_s - frame.time_s
            elif first:
                pause_s = max(frame.captured_s - self._arrived_s, 0.0)
                step_s = 1 / (self._source.fps or 25.0)
                shift_s = max(frame.captured_s - (self._start_s or 0.0), self._time_s + step_s) - frame.time_s
                frame = replace(frame, starts_anew=True, gap_s=pause_s, motion=None, motion_source="none")
                if gap:
                    self._counts.gap(pause_s)
            first = False
            self._count_damage()
            self._arrived_s, self._time_s = frame.captured_s, frame.time_s + shift_s
            self._next_index = index + frame.index + 1
            yield self._numbered(replace(frame, index=index + frame.index, time_s=self._time_s), packet)
            if self._stop.is_set() or not self._resumed.is_set():
                return

    def _count_damage(self) -> None:
        more = self._source.damaged - self._damaged
        if more:
            self._counts.add(damaged=more)
        self._damaged += more

    def _numbered(self, frame: Frame, offset: int) -> Frame:
        if not frame.packets:
            return frame
        packets = tuple(replace(packet, number=packet.number + offset) for packet in frame.packets)
        self._next_packet = packets[-1].number + 1
        return replace(frame, packets=packets, packet_number=self._next_packet - 1)

    def _goes_on(self, error: VideoError | None) -> bool:
        if self._options.reconnect == "never":
            return False
        return error is not None or self._options.reconnect == "always" or self._source.is_endless

    def _delay(self) -> bool:
        """Waits before the next try; returns whether somebody wants an end."""
        return self._stop.wait(self._backoff.delay_s())

    def _wait_paused(self) -> None:
        self._tell("paused")
        self._resumed.wait()

    def _reopen(self) -> bool:
        """Opens the source, however long that takes; returns whether it is open."""
        while not self._stop.is_set():
            if not self._resumed.is_set():
                self._wait_paused()
                continue
            try:
                self._source, self._damaged = self._again(), 0
            except VideoError as error:
                self._counts.add(failures=1)
                self._tell("connecting", str(error))
                self._delay()
                continue
            if self._stop.is_set():
                self._source.close()
                return False
            self._counts.add(connections=1)
            self._tell("open")
            return True
        return False

    def _tell(self, state: State, why: str | None = None) -> None:
        _log.info("%s%s", state, "" if why is None else f": {why}")
        self._counts.state(state, why)
        self._changed()
