"""A server that is given up would not have been chosen for any frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.runtime.offload.dispatch import DispatchInputs, DispatchOptions, decide
from fluxshard.runtime.offload.prospects import SHARES, Prospects, may_answer

MS = st.floats(0.0, 1000.0)


@pytest.mark.parametrize(
    ("edge", "cloud", "propagation_ms", "expected"),
    [
        ((5, 60), (5, 60), 20, False),  # as fast as the server, and the way there takes 40 ms
        ((5, 60), (5, 60), 0, True),
        ((5, 60), (3, 12), 20, True),  # whole frames
        ((90, 95), (3, 60), 20, True),  # small ones
        ((350, 540), (3, 36), 20, True),  # a board
    ],
)
def test_the_same_work_at_both_ends(
    edge: tuple[float, float], cloud: tuple[float, float], propagation_ms: float, expected: bool
) -> None:
    """Milliseconds without work, and with all of it."""
    ends = [tuple(least + share * (most - least) for least, most in (edge, cloud)) for share in SHARES]
    assert may_answer(ends, propagation_ms, 5.0) == expected


@given(
    edge=st.tuples(MS, MS),
    cloud=st.tuples(MS, MS),
    propagation_ms=MS,
    work=st.sampled_from(SHARES),
    wait_ms=MS,
    upload=MS,
    margin=MS,
)
def test_a_server_that_may_not_answer_is_never_chosen(
    edge: tuple[float, float],
    cloud: tuple[float, float],
    propagation_ms: float,
    work: float,
    wait_ms: float,
    upload: float,
    margin: float,
) -> None:
    options = DispatchOptions(margin_ms=margin)
    ends = {share: tuple(base + share * slope for base, slope in (edge, cloud)) for share in SHARES}
    edge_ms, cloud_ms = ends[work]
    inputs = DispatchInputs(
        edge_ms=edge_ms, cloud_ms=cloud_ms, server_wait_ms=wait_ms, upload_bytes=round(1000 * upload),
        uplink_bytes_per_ms=1000.0, propagation_ms=propagation_ms,
    )  # fmt: skip
    if not may_answer(ends.values(), propagation_ms, margin + 1e-6):  # sums of floats differ in their last bits
        assert decide(inputs, options).endpoint == "edge"


def frames(prospects: Prospects, *may: bool, ran: int = 100, since_s: float = 0.0) -> list[Prospects]:
    """What becomes of them, frame by frame, 30 a second."""
    found = []
    for number, each in enumerate(may):
        prospects = prospects.after(each, ran, since_s + number / 30, 30.0)
        found.append(prospects)
    return found


def test_a_stream_ceases_to_ask_after_a_second_in_vain() -> None:
    once = [False] * 29 + [True]
    assert all(each.asks for each in frames(Prospects(), *once * 3))
    asks = [each.asks for each in frames(Prospects(), *[False] * 40)]
    assert asks == [True] * 29 + [False] * 11
    assert all(each.asks for each in frames(Prospects(), *[False] * 99, ran=7)), "too little is known of the server"


def test_a_stream_asks_again() -> None:
    alone = frames(Prospects(), *[False] * 40)[-1]
    assert frames(alone, True, since_s=2.0)[0].asks, "at once, where the server may answer"
    assert not frames(alone, False, since_s=29.0)[0].asks
    (again,) = frames(alone, False, since_s=31.0)
    assert again.asks
    assert all(each.asks for each in frames(again, *[False] * 99, ran=107)), "eight frames are looked at"
    assert not frames(again, *[False] * 30, ran=108)[-1].asks
