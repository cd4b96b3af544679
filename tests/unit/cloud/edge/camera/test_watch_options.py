from __future__ import annotations

import math

import pytest

from fluxshard.cloud.edge.camera.options import WatchOptions
from fluxshard.errors import OptionError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"answer": "boxes"}, r"answer \(='boxes'\)"),
        ({"confidence": -0.1}, r"confidence \(=-0.1\)"),
        ({"confidence": math.nan}, r"confidence \(=nan\)"),
        ({"iou": 1.5}, r"iou \(=1.5\)"),
        ({"deadline_ms": 0}, r"deadline_ms \(=0\)"),
        ({"deadline_ms": math.inf}, r"deadline_ms \(=inf\)"),
        ({"first_wait_s": -1}, r"first_wait_s \(=-1\)"),
        ({"stream": ""}, "must name the video stream"),
    ],
)
def test_values_that_are_not_allowed(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        WatchOptions(**values)  # type: ignore[arg-type]


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(WatchOptions(token="secret"))
    assert WatchOptions().stream and WatchOptions().reuse.policy == "planned"
