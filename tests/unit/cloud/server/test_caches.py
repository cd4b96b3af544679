"""Memory of all streams: the idle ones give way, the caller's own first, and a stream that runs never does."""

from __future__ import annotations

from fluxshard.cloud.server.caches import CacheLease, CachePool


class Streams:
    """A pool, and which of its streams were evicted."""

    def __init__(self, cache_bytes: int) -> None:
        self.pool = CachePool(cache_bytes)
        self.evicted: list[str] = []

    def hold(self, name: str, n_bytes: int, used_at: float, *, identity: str = "", busy: bool = False) -> CacheLease:
        lease = self.pool.lease(identity or name, lambda: self.evicted.append(name))
        lease.n_bytes, lease.used_at, lease.busy = n_bytes, used_at, busy
        return lease


def test_counts_what_streams_hold() -> None:
    streams = Streams(100)
    one = streams.hold("a", 30, 1.0)
    streams.hold("b", 0, 2.0)
    assert streams.pool.n_bytes == 30 and streams.pool.holders == 1
    streams.pool.release(one)
    assert streams.pool.n_bytes == streams.pool.holders == 0
    streams.pool.release(one)


def test_the_longest_idle_gives_way_and_no_more_than_needed() -> None:
    streams = Streams(100)
    for name, used_at in (("young", 3.0), ("old", 1.0), ("middle", 2.0)):
        streams.hold(name, 30, used_at)
    asks = streams.hold("asks", 0, 0.0)
    assert streams.pool.make_room(asks, 10) and streams.evicted == []
    assert streams.pool.make_room(asks, 40) and streams.evicted == ["old"]
    assert streams.pool.n_bytes == 60
    assert streams.pool.make_room(asks, 100) and streams.evicted == ["old", "middle", "young"]
    assert streams.pool.n_bytes == 0


def test_the_callers_own_streams_give_way_first() -> None:
    streams = Streams(100)
    streams.hold("other", 50, 1.0)
    streams.hold("mine", 50, 9.0, identity="me")
    asks = streams.hold("asks", 0, 0.0, identity="me")
    assert streams.pool.make_room(asks, 50) and streams.evicted == ["mine"]


def test_a_stream_that_runs_is_not_evicted_and_nobody_is_in_vain() -> None:
    streams = Streams(100)
    streams.hold("runs", 60, 1.0, busy=True)
    streams.hold("idle", 40, 2.0)
    asks = streams.hold("asks", 0, 0.0)
    assert not streams.pool.make_room(asks, 50) and streams.evicted == []
    assert streams.pool.make_room(asks, 40) and streams.evicted == ["idle"]


def test_what_a_stream_holds_itself_counts_as_free() -> None:
    streams = Streams(100)
    asks = streams.hold("asks", 80, 0.0)
    assert streams.pool.make_room(asks, 100) and streams.evicted == []
    assert not streams.pool.make_room(asks, 101) and streams.evicted == []
