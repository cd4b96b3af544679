"""Options of skipping: what is refused."""

from __future__ import annotations

import pytest

from fluxshard.errors import OptionError
from fluxshard.pipeline.carrying.options import SkipOptions


@pytest.mark.parametrize("budget", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_budget_is_a_share(budget: float) -> None:
    with pytest.raises(OptionError, match="skip budget"):
        SkipOptions(budget=budget)


def test_frames_are_counted_from_zero() -> None:
    with pytest.raises(OptionError, match="max_skip"):
        SkipOptions(most=-1)
    assert SkipOptions(most=0).budget == 0
