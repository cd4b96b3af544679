"""What all runs have in common: values that are not allowed, and what several edges run."""

from __future__ import annotations

from typing import Any

import pytest

from fluxshard.errors import OptionError
from fluxshard.evaluate.end_to_end.live.methods import METHODS, SHARED, live_methods
from fluxshard.evaluate.end_to_end.live.options import LiveOptions
from fluxshard.evaluate.offload.link_trace import LinkTrace


@pytest.mark.parametrize(
    "changes",
    [{"slowdowns": (0.5,)}, {"slowdowns": ()}, {"methods": ()}, {"frames": 0}, {"seconds": 0}, {"warm_s": -1}],
)
def test_options_that_are_not_allowed(changes: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="must be"):
        LiveOptions(**changes)


def test_several_edges_run_a_few_of_the_methods() -> None:
    assert [one.name for one in LiveOptions(edges=(1, 2)).shared_methods] == list(SHARED)
    assert [one.slug for one in LiveOptions(methods=METHODS[:4], edges=(1,)).shared_methods] == ["offload-h-264"]
    with pytest.raises(
        OptionError, match=r"offload H\.264, FluxShard planned, raw, FluxShard planned, bitstream: none"
    ):
        LiveOptions(methods=live_methods(["edge-only"]), edges=(1, 2))


def test_a_shared_link() -> None:
    given = LiveOptions(seconds=2).link_options(LinkTrace("link", (5.0, 6.0, 7.0)), edges=3)
    assert given.up_mbps == (5.0, 6.0) and given.edges == 3
