"""Timing contenders against each other: on a GPU by CUDA events, without one by the processor's clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

Run = Callable[[], object]


@dataclass(slots=True)
class Times:
    """Of one contender, per round.

    Attributes:
      ms: from the call until the device has done it, on an idle device.
      host_ms: until the call returns.
    """

    ms: list[float] = field(default_factory=list)
    host_ms: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """Of the rounds."""
        return statistics.median(self.ms)

    @property
    def median_host_ms(self) -> float:
        """Of the rounds."""
        return statistics.median(self.host_ms)


class Clock(Protocol):
    """Measures calls."""

    def wait(self) -> None:
        """Waits until the device is idle."""
        ...

    def once(self, run: Run) -> tuple[float, float]:
        """Milliseconds of one call on an idle device: until the device has done it, and until it returns."""
        ...

    def each_of(self, run: Run, times: int) -> float:
        """Milliseconds of each of many calls that do not wait for one another: the device's own time."""
        ...


class CudaClock:
    """CUDA events on the current stream."""

    def wait(self) -> None:
        """See `Clock.wait`."""
        torch.cuda.synchronize()

    def once(self, run: Run) -> tuple[float, float]:
        """See `Clock.once`."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        started = time.perf_counter()
        run()
        returned = time.perf_counter()
        end.record()
        end.synchronize()
        return start.elapsed_time(end), (returned - started) * 1e3

    def each_of(self, run: Run, times: int) -> float:
        """See `Clock.each_of`."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        run()
        start.record()
        for _ in range(times):
            run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / times


class HostClock:
    """The processor's clock, where calls return when they are done."""

    def wait(self) -> None:
        """See `Clock.wait`."""

    def once(self, run: Run) -> tuple[float, float]:
        """See `Clock.once`."""
        started = time.perf_counter()
        run()
        elapsed = (time.perf_counter() - started) * 1e3
        return elapsed, elapsed

    def each_of(self, run: Run, times: int) -> float:
        """See `Clock.each_of`."""
        return sum(self.once(run)[0] for _ in range(times)) / times


def interleaved(contenders: Mapping[str, Run], rounds: int, clock: Clock, warm: int = 3) -> dict[str, Times]:
    """Times of all contenders, each of them once in each round, so that a change of clocks meets all of them."""
    for run in contenders.values():
        for _ in range(warm):
            run()
    times = {name: Times() for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            ms, host_ms = clock.once(run)
            times[name].ms.append(ms)
            times[name].host_ms.append(host_ms)
    return times


def ratio(times: Times, base: Times) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(times.ms, base.ms, strict=True))


class Deadline:
    """How much of the time that was given is left.

    Args:
      seconds: in all, from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds

    @property
    def left_s(self) -> float:
        """Seconds; negative when it has passed."""
        return self._end - time.perf_counter()
