"""Options of a supervisor."""

from __future__ import annotations

import math

import pytest

from fluxshard.cloud.cluster.options import ClusterOptions
from fluxshard.errors import OptionError


def test_the_defaults_go_together() -> None:
    options = ClusterOptions()
    assert [options.moves_among(workers) for workers in (1, 3, 8, 16, 84)] == [2, 2, 2, 4, 21]
    assert options.scale.least == options.scale.most == 1 and options.lease_s > 3 * options.beat_s


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beat_s": -1.0}, "beat_s"),
        ({"kill_s": math.nan}, "kill_s"),
        ({"drain_s": math.inf}, "drain_s"),
        ({"beat_s": 0.5, "lease_s": 1.4}, "three times beat_s"),
    ],
)
def test_times_that_are_not_allowed(changes: dict[str, float], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        ClusterOptions(**changes)  # type: ignore[arg-type]
