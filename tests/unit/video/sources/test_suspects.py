"""Packets that came incomplete."""

from __future__ import annotations

import pytest

from fluxshard.video.sources.suspects import Suspects


@pytest.mark.parametrize("stamp", [7, None])
def test_until_its_picture_has_come(stamp: int | None) -> None:
    suspects = Suspects()
    suspects.packet(3, incomplete=False)
    suspects.packet(stamp, incomplete=True)
    assert stamp in suspects and 3 not in suspects
    suspects.discard(stamp)
    suspects.discard(stamp)
    assert stamp not in suspects


def test_a_picture_that_never_comes_condemns_no_later_one_of_the_same_stamp() -> None:
    suspects = Suspects()
    suspects.packet(7, incomplete=True)
    for stamp in range(8, 40):  # as long as a decoder may hold pictures back
        suspects.packet(stamp, incomplete=False)
    assert 7 in suspects
    for stamp in range(40, 100):
        suspects.packet(stamp, incomplete=False)
    assert 7 not in suspects


def test_a_stream_of_nothing_else_does_not_fill_the_memory() -> None:
    suspects = Suspects()
    for stamp in range(10_000):
        suspects.packet(stamp, incomplete=True)
    assert len(suspects) <= 64 and 9_999 in suspects and 0 not in suspects
