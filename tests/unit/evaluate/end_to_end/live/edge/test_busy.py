"""Time that several threads compute."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from fluxshard.evaluate.end_to_end.live.edge.busy import BusyTime


def test_threads_add_up() -> None:
    busy = BusyTime()
    assert busy.total_ms == 0
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(busy.add, [0.5] * 1000))
    assert busy.total_ms == 500
