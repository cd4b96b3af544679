"""Placement of many streams under failures: the placement core of the cluster, with simulated time.

    python -m benchmarks.placement_simulation --streams 10000 --hours 2

Workers die and freeze at random and are replaced after a while; streams come and go; a rolling upgrade drains one
worker after the other. What a stream costs is what `benchmarks.stream_cost` measured. The figures are those of the code
that places streams (`fluxshard.cloud.cluster.placement`), not of a network or of real processes.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import itertools
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fluxshard.cloud.cluster.options import ClusterOptions
from fluxshard.cloud.cluster.placement.placements import Placements
from fluxshard.errors import RefusedError

OPTIONS = ClusterOptions()
CORES = 16  # of a worker
# share of the streams, and processor seconds a second on the server: YOLO11n at 384x640, bitstream, "street"
MIX = {"idle": (0.60, 0.0), "1 fps": (0.25, 0.096), "5 fps": (0.10, 0.245), "25 fps": (0.05, 0.918)}
RETRY_S = 0.2  # an edge that lost its link, or was refused, asks again
SILENCE_S = 3.0  # after which an edge takes a frozen worker for lost
REPLACED_S = 60.0
SESSION_S = 1800.0  # mean life of a stream; then another one comes
MEASURED_S = 10.0  # between two reports of loads; the real ones come every two seconds


COLUMNS = (
    "a worker fails every", "failures", "streams hit", "without a worker, median / p99 / max s", "share of all time",
    "moves to even out, a stream and hour", "refused", "workers within 10% of the mean load, median / least",
    "most loaded worker, p99", "place() µs",
)  # fmt: skip
CASES = {
    "30 days": (30 * 86400.0, False),
    "day": (86400.0, False),
    "hour": (3600.0, False),
    "30 days, rolling upgrade": (30 * 86400.0, True),
}


def mean_cores() -> float:
    """Processor seconds a second of a stream, in the mean."""
    return sum(share * cores for share, cores in MIX.values())


@dataclass
class Figures:
    """What was counted."""

    placings: int = 0
    failures: int = 0
    hit: int = 0
    moves: int = 0
    drained: int = 0
    refused: int = 0
    without_s: float = 0.0
    waits: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    highest: list[float] = field(default_factory=list)
    place_s: float = 0.0


class Simulation:
    """Events in order of simulated time.

    Args:
      streams: that there are at the same time.
      workers: that there are.
      mtbf_s: mean time between two failures of one worker.
      seed: of all that is random.
    """

    def __init__(self, streams: int, workers: int, mtbf_s: float, seed: int) -> None:
        self._random = random.Random(seed)
        self._mtbf_s, self._slots = mtbf_s, 3 * streams // workers
        self._placements = Placements()
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._names = (f"w{number}" for number in itertools.count())
        self._streams: dict[str, float] = {}  # cores
        self._lost_at: dict[str, float] = {}  # streams without a worker, and since when
        self._pinned: dict[str, float] = {}
        self._live: set[str] = set()
        self.figures = Figures()
        for _ in range(workers):
            self._join()
        for number in range(streams):
            self._arrive(number, began=True)
        self._at(MEASURED_S, self._measure)
        self._at(OPTIONS.even_s, self._even)

    def run(self, seconds: float) -> Figures:
        """Lets simulated time pass."""
        while self._events and self._events[0][0] <= seconds:
            self._now, _, event = heapq.heappop(self._events)
            event()
        for since in self._lost_at.values():
            self.figures.without_s += seconds - since
        return self.figures

    def upgrade(self, pause_s: float) -> None:
        """From now on one worker after the other is drained and replaced."""
        for number, worker in enumerate(sorted(self._live)):
            self._at(pause_s * (number + 1), lambda worker=worker: self._drain(worker))  # type: ignore[misc]

    def _at(self, delay_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + delay_s, next(self._numbers), event))

    def _join(self) -> None:
        name = next(self._names)
        self._placements.join(name, self._slots)
        self._live.add(name)
        self._at(self._random.expovariate(1 / self._mtbf_s), lambda: self._fail(name))

    def _fail(self, worker: str) -> None:
        if worker not in self._live:
            return  # drained meanwhile
        self._live.discard(worker)
        self.figures.failures += 1
        frozen = self._random.random() < 0.3
        if frozen:
            self._placements.set_open(worker, False)  # it does not answer orders

        def lost() -> None:
            for place in self._placements.lose(worker):
                if place.stream in self._streams:
                    noticed = SILENCE_S - OPTIONS.lease_s if frozen else 0.0
                    self.figures.hit += 1
                    self._lost_at[place.stream] = self._now - (OPTIONS.lease_s if frozen else 0.0)
                    self._at(noticed + self._random.uniform(0.5, 1.0) * RETRY_S, lambda s=place.stream: self._ask(s))  # type: ignore[misc]

        self._at(OPTIONS.lease_s if frozen else 0.0, lost)
        self._at(REPLACED_S, self._join)

    def _drain(self, worker: str) -> None:
        if worker not in self._live:
            return
        self._live.discard(worker)
        self._placements.set_open(worker, False)
        for stream in sorted(self._placements.streams_of(worker)):
            self.figures.drained += 1
            self._move(stream)
        self._placements.lose(worker)
        self._at(REPLACED_S, self._join)

    def _arrive(self, number: int, *, began: bool = False) -> None:
        name = f"s{number}-{next(self._numbers)}"
        shares = [share for share, _ in MIX.values()]
        self._streams[name] = self._random.choices([cores for _, cores in MIX.values()], shares)[0]
        self._lost_at[name] = self._now
        self._ask(name)
        self._at(self._random.expovariate(1 / SESSION_S), lambda: self._depart(name, number))

    def _depart(self, name: str, number: int) -> None:
        del self._streams[name]
        self.figures.without_s += self._now - self._lost_at.pop(name, self._now)
        place = self._placements.place_of(name)
        if place is not None:
            self._placements.ended(place.worker, name, place.epoch)
        self._arrive(number)

    def _ask(self, stream: str) -> None:
        if stream not in self._lost_at:
            return  # it has gone, or was placed meanwhile
        began = time.perf_counter()
        try:
            self._placements.place(stream, "edge")
        except RefusedError:
            self.figures.refused += 1
            self._at(RETRY_S, lambda: self._ask(stream))
            return
        finally:
            self.figures.place_s += time.perf_counter() - began
        self.figures.placings += 1
        self.figures.waits.append(self._now - self._lost_at[stream])
        self.figures.without_s += self._now - self._lost_at.pop(stream)

    def _move(self, stream: str) -> None:
        """Its edge is told to go, asks, and is placed elsewhere."""
        place = self._placements.place_of(stream)
        assert place is not None
        self._placements.ended(place.worker, stream, place.epoch)
        self._lost_at[stream] = self._now
        self._at(self._random.uniform(0.5, 1.0) * RETRY_S, lambda: self._ask(stream))

    def _measure(self) -> None:
        for worker in self._live:
            streams = self._placements.streams_of(worker)
            noise = self._random.uniform
            self._placements.measured(worker, {s: self._streams[s] / CORES * noise(0.7, 1.3) for s in streams})
        cores = [sum(self._streams[s] for s in self._placements.streams_of(worker)) for worker in self._live]
        loads = [self._placements.workers[worker] for worker in self._live]
        if self._now > 300.0:  # all are placed, and measured
            self.figures.highest.append(max(cores) / CORES)
            mean = statistics.mean(loads)
            self.figures.spread.append(statistics.mean(abs(load - mean) <= 0.1 * mean for load in loads))
        self._at(MEASURED_S, self._measure)

    def _even(self) -> None:
        self._pinned = {stream: until for stream, until in self._pinned.items() if until > self._now}
        for move in self._placements.moves(
            most=OPTIONS.moves_among(len(self._live)), tolerance=OPTIONS.tolerance, pinned=self._pinned
        ):
            if move.place.worker in self._live:
                self.figures.moves += 1
                self._pinned[move.place.stream] = self._now + OPTIONS.pin_s
                self._move(move.place.stream)
        self._at(OPTIONS.even_s, self._even)


def quantile(values: list[float], share: float) -> float:
    """Of values that need not be sorted."""
    return sorted(values)[round(share * (len(values) - 1))]


def cells(streams: int, count: int) -> tuple[int, int]:
    """Fewest and most streams of a cell, where the hash of a stream's name chooses it."""
    found = [0] * count
    for number in range(streams):
        digest = hashlib.sha256(f"site-{number // 8}/camera-{number % 8}".encode()).digest()
        found[int.from_bytes(digest[:8], "big") % count] += 1
    return min(found), max(found)


def main() -> None:
    """Simulates, and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--use", type=float, default=0.7, help="of the workers' processors, in the mean")
    options = parser.parse_args()
    workers = round(options.streams * mean_cores() / CORES / options.use)
    print(f"{options.streams} streams of {mean_cores():.4f} cores in the mean, {workers} workers of {CORES} cores\n")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|")
    for title, (mtbf_s, upgrade) in CASES.items():
        simulation = Simulation(options.streams, workers, mtbf_s, seed=1)
        if upgrade:
            simulation.upgrade(0.8 * 3600 * options.hours / workers)
        found = simulation.run(3600 * options.hours)
        waits = [wait for wait in found.waits if wait > 0] or [0.0]
        hours = options.streams * options.hours
        print(
            f"| {title} | {found.failures} | {found.hit or found.drained} | {statistics.median(waits):.2f} / "
            f"{quantile(waits, 0.99):.2f} / {max(waits):.2f} | {found.without_s / 3600 / hours:.1e} | "
            f"{found.moves / hours:.3f} | {found.refused} | {statistics.median(found.spread):.0%} / "
            f"{min(found.spread):.0%} | {quantile(found.highest, 0.99):.2f} | "
            f"{1e6 * found.place_s / found.placings:.0f} |",
            flush=True,
        )
    fewest, most = cells(1_000_000, 100)
    print(f"\n1,000,000 streams in 100 cells by the hash of their names: {fewest} to {most} in a cell")


if __name__ == "__main__":
    main()
