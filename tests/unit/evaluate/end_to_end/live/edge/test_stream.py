"""Parts of an edge's stream: baselines that keep nothing, and the latency of a slower machine."""

from __future__ import annotations

import pytest
import torch

from fluxshard.evaluate.end_to_end.live.edge.stream import _NothingKept, slower
from fluxshard.options import ReuseOptions
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing import FakeEngine

SIZE = (32, 48)


@pytest.mark.parametrize("kept", [True, False])
def test_where_nothing_is_kept_every_frame_is_computed_whole(kept: bool) -> None:
    engine = FakeEngine(SIZE)
    program = Program(engine, lambda leaves: leaves[0])
    if not kept:
        program = Program(engine, lambda leaves: leaves[0], lambda *_: _NothingKept())
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with Session(lambda _: program, ReuseOptions(policy="planned")) as session:
        for _ in range(3):
            session.run(image)
    assert [call.control.keyframe for call in engine.calls] == [True, not kept, not kept]


def test_a_slower_machine_takes_as_much_longer_for_any_work() -> None:
    model = LatencyModel(
        base_ms=2.0, slopes_ms=(10.0, 5.0), knots=((2.0, 3.0), (12.0, 11.0), (17.0, 20.0)), error=0.1, samples=9
    )
    for work in ((0.0, 0.0), (0.3, 0.1), (1.0, 1.0)):
        assert slower(model, 16).predict_ms(work) == pytest.approx(16 * model.predict_ms(work))
