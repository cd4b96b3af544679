"""Leases: a worker's own ends before its supervisor thinks so, whatever is delayed or frozen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cloud.cluster.placement.leases import DRIFT, NOTICED_S, GivenLease, HeldLease

LENGTH_S = 1.0
seconds = st.floats(0.0, 3.0, allow_nan=False)


def test_a_worker_holds_nothing_before_it_was_heard() -> None:
    lease = HeldLease()
    assert not lease.holds(0.0)
    lease.heard(10.0, LENGTH_S)
    assert lease.holds(10.9) and not lease.holds(11.0)
    lease.heard(5.0, LENGTH_S)
    assert lease.holds(10.9), "beats that were held up take nothing away"


def test_an_old_beat_gives_a_frozen_worker_nothing() -> None:
    lease = HeldLease()
    lease.heard(10.0, LENGTH_S)
    lease.heard(10.2, LENGTH_S)  # read after it has slept until 15
    assert not lease.holds(15.0)


@given(
    steps=st.lists(st.tuples(seconds, seconds, seconds), min_size=1, max_size=20),
    offset=st.floats(-1e5, 1e5),
    rate=st.floats(1 - DRIFT / 2, 1 + DRIFT / 2),
)
def test_the_worker_never_outlives_what_was_given(
    steps: list[tuple[float, float, float]], offset: float, rate: float
) -> None:
    """Reports and beats take any time; the worker's clock is elsewhere, and somewhat faster or slower."""

    def worker_clock(t: float) -> float:
        return offset + rate * t

    now = 0.0
    held, given_lease = HeldLease(), GivenLease(LENGTH_S, now)
    ends = []
    for report_s, pause_s, beat_s in steps:
        sent = worker_clock(now)
        now += report_s
        if given_lease.left_s(now) <= 0:
            break  # the worker is lost: reports that come later are not heard
        given_lease.reported(now)
        now += pause_s + beat_s  # a beat that was sent may come when the lease is long over
        held.heard(sent, LENGTH_S)
        ends.append(now)
    over = now
    while given_lease.left_s(over) > 0:
        over += 0.05
    assert not held.holds(worker_clock(over - NOTICED_S) + 1e-6)
