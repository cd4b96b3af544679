"""Overlap with what a stronger network finds."""

from __future__ import annotations

import pytest

from fluxshard.evaluate.metrics.teacher_overlap import CERTAIN, teacher_overlap
from fluxshard.evaluate.traces.trace import FoundObject

SIZE = (40, 60)


def an_object(x: float, score: float = 0.9, category: int = 0) -> FoundObject:
    return FoundObject(category=category, score=score, box=(x, 0.0, x + 10, 10.0))


def test_every_certain_object_counts_once_and_what_is_missed_counts_zero() -> None:
    teacher = [an_object(0), an_object(30)]
    assert teacher_overlap([an_object(0)], teacher, SIZE) == pytest.approx(0.5)
    assert teacher_overlap([an_object(0), an_object(30), an_object(45)], teacher, SIZE) == pytest.approx(1)
    assert teacher_overlap([an_object(5), an_object(30)], teacher, SIZE) == pytest.approx((5 / 15 + 1) / 2)
    assert teacher_overlap([], teacher, SIZE) == 0


def test_another_class_is_no_match() -> None:
    assert teacher_overlap([an_object(0, category=1)], [an_object(0)], SIZE) == 0


def test_a_teacher_that_is_certain_of_nothing_says_nothing() -> None:
    assert teacher_overlap([an_object(0)], [], SIZE) is None
    assert teacher_overlap([an_object(0)], [an_object(0, score=CERTAIN)], SIZE) is None
