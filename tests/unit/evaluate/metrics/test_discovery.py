"""Discovery latencies of objects whose tracks are known."""

from __future__ import annotations

import pytest

from fluxshard.evaluate.metrics.discovery import discovery_frames
from tests.unit.evaluate.metrics.squares import found, trace


def test_an_object_that_is_found_three_frames_late() -> None:
    life = [(), (), *[(found(k),) for k in range(8)]]
    late = [(), (), (), (), (), *life[5:]]
    assert discovery_frames(trace(*late), trace(*life), 0.25) == (3,)
    assert discovery_frames(trace(*life), trace(*life), 0.25) == (0,)
    assert discovery_frames(trace(*[()] * 10), trace(*life), 0.25) == (8,)  # never: its whole life


def test_objects_of_the_first_frame_and_short_lives_are_not_discovered() -> None:
    from_start = [(found(0),)] * 10
    flash = [(), (), *[(found(0),)] * 4, (), (), (), ()]
    assert discovery_frames(trace(*[()] * 10), trace(*from_start), 0.25) == ()
    assert discovery_frames(trace(*[()] * 10), trace(*flash), 0.25) == ()


def test_an_object_may_be_lost_for_two_frames() -> None:
    gap = [(), (found(0),), (found(0),), (), (), (found(1),), (found(1),), (found(1),)]
    assert discovery_frames(trace(*[()] * 8), trace(*gap), 0.25) == (7,)


def test_an_object_that_is_lost_for_three_frames_begins_again() -> None:
    seen = (found(0),)
    longer = [(), *[seen] * 5, (), (), (), *[seen] * 6]
    assert discovery_frames(trace(*[()] * 15), trace(*longer), 0.25) == (5, 6)


def test_discovery_needs_the_class_the_place_and_the_confidence() -> None:
    life = [(), *[(found(0),)] * 6]
    others = [(found(0, category=1),), (found(4),), (found(0, score=0.2),)]  # 6 of 14 columns: below one half
    late = [(), *others, (found(3),), *[()] * 2]  # 7 of 13 columns
    assert discovery_frames(trace(*late), trace(*life), 0.25) == (3,)


def test_objects_are_followed_where_they_overlap_most() -> None:
    """Two of one class side by side, and one of another on top: three lives, of which the method finds one late."""
    life = [(), *[(found(k), found(k + 6), found(k, category=1)) for k in range(6)]]
    mine = [(), *[(found(k), found(k + 6)) for k in range(2)], *life[3:]]
    assert discovery_frames(trace(*mine), trace(*life), 0.25) == (0, 0, 2)


def test_an_object_that_changes_its_class_is_another_one() -> None:
    life = [(), *[(found(0),)] * 3, *[(found(0, category=1),)] * 3]
    assert discovery_frames(trace(*life), trace(*life), 0.25) == ()  # two lives of 3 frames: too short


@pytest.mark.parametrize(("step", "expected"), [(5, (0,)), (6, ())])  # IoU 5/15 and 4/16; 0.3 is followed
def test_how_fast_an_object_is_followed(step: int, expected: tuple[int, ...]) -> None:
    life = [(), *[(found(step * k),) for k in range(6)]]
    assert discovery_frames(trace(*life), trace(*life), 0.25) == expected
