"""Loss and age, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end.common_figures import age_area, loss_of


def test_loss() -> None:
    assert loss_of(0.6, 0.8) == pytest.approx(0.25)
    assert loss_of(None, 0.8) is None and loss_of(0.6, None) is None and loss_of(0.6, 0.0) is None


def test_the_age_grows_until_the_next_answer() -> None:
    # the frame of 0 ms is answered at 10 and is the newest until 30: 10 to 30 ms old; then that of 20 ms until 40
    area, time = age_area(np.array([10.0, 30.0, 40.0]), np.array([0.0, 20.0, 35.0]))
    assert time == 30 and area == pytest.approx(20 * 20 + 10 * 15)
