"""`fluxshard evaluate`: what its flags mean."""

from __future__ import annotations

import pytest

from fluxshard.cli.evaluate import METHODS, _twice
from fluxshard.errors import OptionError
from fluxshard.evaluate.methods.method_sets import set_names


def test_the_default_methods_are_sets() -> None:
    assert set(METHODS.split(",")) <= set(set_names())


@pytest.mark.parametrize(("size", "teacher"), [(None, "1280"), ("416", "832"), ("384x640", "768x1280")])
def test_a_teacher_sees_twice_as_much(size: str | None, teacher: str) -> None:
    assert _twice(size) == teacher


def test_a_size_that_is_none() -> None:
    with pytest.raises(OptionError, match="--size"):
        _twice("large")
