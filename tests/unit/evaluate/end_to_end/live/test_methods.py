"""The methods over a link: their names, and what they share with the replay."""

from __future__ import annotations

import pytest

from fluxshard.errors import OptionError
from fluxshard.evaluate.end_to_end.entrants import ANYTIME, ENTRANTS
from fluxshard.evaluate.end_to_end.live.methods import METHODS, live_methods


def test_every_method_is_in_the_replay_too() -> None:
    assert {one.name for one in METHODS} <= {ANYTIME, *(one.name for one in ENTRANTS)}
    assert len({one.slug for one in METHODS}) == len(METHODS)


def test_methods_are_found_by_name_or_slug() -> None:
    assert live_methods(None) == METHODS
    found = live_methods(["offload-h-264", "edge only"])
    assert [one.name for one in found] == ["edge only", "offload H.264"]
    assert [one.policy for one in live_methods(["deltacnn", "offload raw"])] == ["planned", "propagated"]


@pytest.mark.parametrize("names", [[], ["coach"]])
def test_unknown_methods(names: list[str]) -> None:
    with pytest.raises(OptionError, match="there are edge-only, offload-raw"):
        live_methods(names)
