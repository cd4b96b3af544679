"""The records of live streams are replayed: every decision follows from what was recorded before it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fluxshard.evaluate.offload.placement_replay import replay_placements
from fluxshard.pipeline.sinks.line_file import LineFile
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.in_process import InProcessTransport
from tests.offload.streams import CLOUD_FIRST, EDGE_FIRST, MODEL, Stream, serving

PAPER = DispatchOptions(policy="paper", margin_ms=10_000.0)


@pytest.mark.parametrize("dispatch", [CLOUD_FIRST, EDGE_FIRST, PAPER], ids=["cloud first", "edge first", "paper"])
def test_a_stream_s_decisions_are_made_again(dispatch: DispatchOptions, tmp_path: Path) -> None:
    """The server takes 20 ms more than the edge, so whoever asks it first may have something to regret."""
    with serving(hooked(MODEL, lambda _: time.sleep(0.02))) as server:
        stream = Stream(InProcessTransport(server), dispatch=dispatch)
        stream.run()
        stream.wait_open()
        for _ in range(30):
            stream.run()
            time.sleep(0.005)  # a camera
        stream.close()
    with LineFile(tmp_path / "placements.jsonl") as lines:
        for record in stream.settled:
            lines.append(record.as_dict())
    found = replay_placements(tmp_path / "placements.jsonl", dispatch)
    assert found.frames == len(stream.settled) == 31 and found.mismatches == ()
    assert all(0 < record.pre_ms <= record.latency_ms for record in stream.settled)
    both = [record for record in stream.settled if record.edge_ms is not None and record.cloud_ms is not None]
    if both:  # none where the server has not answered a refresh or a frame that was hedged before the end
        compared = found.compared
        assert compared is not None and compared.frames == len(both)
        assert compared.oracle_ms <= min(compared.edge_ms, compared.cloud_ms) + 1e-9
        assert compared.regret_ms >= -1e-9 and compared.wrong <= len(both)
    else:
        assert found.compared is None
