"""The paper's figures are those of methods that take part."""

from __future__ import annotations

import pytest

from fluxshard.evaluate.end_to_end.entrants import ENTRANTS
from fluxshard.evaluate.end_to_end.paper import GROWTH, NONE, paper_figures

TIERS = ("low", "medium", "high")


@pytest.mark.parametrize("workload", ["seg", "pose"])
def test_every_named_method_has_figures(workload: str) -> None:
    for one in ENTRANTS:
        if one.paper:
            assert any(paper_figures(workload, tier, one.paper) != NONE for tier in TIERS), one.name
            assert paper_figures(workload, "uplink", one.paper) == NONE


def test_its_claims_follow_from_its_figures() -> None:
    """80.4% less latency than offloading over slow links; "w/o remap" takes about twice the default."""
    ours, offload = (paper_figures("seg", "low", name).latency_ms for name in ("FluxShard", "Offload"))
    assert ours is not None and offload is not None and 1 - ours / offload == pytest.approx(0.804, abs=0.001)
    whole, without = (paper_figures("seg", "medium", name).latency_ms for name in ("FluxShard", "w/o remap"))
    assert whole is not None and without is not None and without / whole == pytest.approx(2, abs=0.1)
    assert GROWTH["pose", "FluxShard"][3] / GROWTH["pose", "FluxShard"][1] == pytest.approx(1.28, abs=0.01)
