"""Which link stands for a tier."""

from __future__ import annotations

from fluxshard.evaluate.end_to_end.live.evaluation import typical
from fluxshard.evaluate.offload.link_trace import LinkTrace


def test_the_middle_link_by_what_is_used_of_it() -> None:
    traces = [LinkTrace("a", (9, 9, 0)), LinkTrace("b", (5, 5, 90)), LinkTrace("c", (1, 1, 99))]
    assert typical(traces, 2).name == "b" and typical(traces, 3).name == "b"
    assert typical(traces[::-1], 2).name == "b"
    assert typical([*traces, LinkTrace("d", (7, 7, 7))], 2).name == "d"
