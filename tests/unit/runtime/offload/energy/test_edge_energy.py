"""Energy of the edge for frames that it runs, and for frames that it waits for."""

from __future__ import annotations

import pytest

from fluxshard.errors import ProfileError
from fluxshard.runtime.offload.energy import EdgeEnergy
from fluxshard.runtime.offload.latency_model import Sample, fit

FRAME_MJ = fit([Sample(work=(n / 20,), ms=100 + 400 * n / 20) for n in range(21)])
ENERGY = EdgeEnergy(frame_mj=FRAME_MJ, rest_mw=4650.0, radio_mj_per_mib=30.0)


def test_a_frame_that_the_edge_runs() -> None:
    assert ENERGY.edge_mj((0.5,)) == pytest.approx(300.0, rel=0.02)
    with pytest.raises(ProfileError):
        ENERGY.edge_mj((0.5, 0.5))


def test_a_frame_that_the_edge_waits_for() -> None:
    assert ENERGY.cloud_mj(100.0, 0) == pytest.approx(465.0)
    assert ENERGY.cloud_mj(0.0, 1 << 19) == pytest.approx(15.0)
    assert ENERGY.cloud_mj(100.0, 1 << 20) == pytest.approx(495.0)
