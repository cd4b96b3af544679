"""Synthetic content: work adds up, and starts over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.evaluate.offload.content.content import SyntheticContent, upload_bytes

CONTENT = SyntheticContent((0.1, 0.2, 0.5), lambda share: 1000 * share, packet_bytes=40.0, key_bytes=100.0)


def test_what_one_frame_leaves_the_next_changes() -> None:
    assert CONTENT.frames == 3
    assert CONTENT.work(0, 1) == pytest.approx((0.2,))
    assert CONTENT.work(0, 2) == pytest.approx((1 - 0.8 * 0.5,))
    assert CONTENT.work(2, 3) == pytest.approx((0.1,))  # from the start again
    assert CONTENT.work(-1, 5) == (1.0,)


def test_bytes_are_those_of_the_work_and_of_the_video() -> None:
    assert CONTENT.frame_bytes(0, 1) == pytest.approx(200)
    assert CONTENT.video_bytes(0, 2) == 80
    assert CONTENT.video_bytes(0, 3) == CONTENT.video_bytes(-1, 3) == 100
    assert upload_bytes(CONTENT, 0, 0, 2) == pytest.approx(600 + 80)
    assert upload_bytes(CONTENT, -1, -1, 0) == pytest.approx(1000 + 100)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_older_caches_have_more_work(shares: list[float], ran: int, age: int, older: int) -> None:
    content, frame = SyntheticContent(shares, lambda share: share), ran + older + age + 1
    young, old = content.work(ran + older, frame)[0], content.work(ran, frame)[0]
    assert 0 <= young <= old + 1e-12 <= 1 + 1e-9
    loop = content.frames
    assert content.work(ran + loop, frame + loop) == pytest.approx(content.work(ran, frame))
