"""Records of frames: all that a decision was made from, as plain values."""

from __future__ import annotations

import json

from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.runtime.offload.dispatch import DispatchInputs, DispatchOptions, decide


def test_a_decision_can_be_made_again_from_its_record() -> None:
    inputs = DispatchInputs(
        edge_ms=40.0, cloud_ms=8.0, server_wait_ms=3.0, upload_bytes=40_000, uplink_bytes_per_ms=2000.0
    )
    options = DispatchOptions()
    record = PlacementRecord(frame=3, inputs=inputs, decision=decide(inputs, options))
    record.server = {"queue_ms": 1.5}
    body = json.loads(json.dumps(record.as_dict()))
    assert decide(DispatchInputs(**body["inputs"]), options) == record.decision
    assert body["frame"] == 3 and body["is_settled"] is False and body["server"] == {"queue_ms": 1.5}
