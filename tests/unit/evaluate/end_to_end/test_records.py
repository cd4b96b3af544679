"""Streams as arrays, and back from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.end_to_end.records import PARTS, StreamRecord, load_records, save_records
from fluxshard.evaluate.offload.replay import replay
from tests.unit.evaluate.offload.small_scenarios import OUTAGE, scenario


def test_a_stream_survives_the_disk(tmp_path: Path) -> None:
    stream = replay(scenario(OUTAGE), "hedged+warm")
    record = StreamRecord.of(stream)
    assert record.latency_ms.tolist() == [one.latency_ms for one in stream.answered]
    assert record.cloud.tolist() == [float(one.endpoint == "cloud") for one in stream.answered]
    assert record.totals.tolist() == [stream.sent_bytes, stream.spare_bytes]
    np.testing.assert_allclose(record.parts.sum(1), record.latency_ms)
    assert record.parts.shape == (len(stream.answered), len(PARTS))
    save_records(tmp_path / "records.npz", {"a | 3 edges, 1": record, "b": record})
    found = load_records(tmp_path / "records.npz")
    assert set(found) == {"a | 3 edges, 1", "b"}
    np.testing.assert_array_equal(found["b"].latency_ms, record.latency_ms)
    np.testing.assert_allclose(found["a | 3 edges, 1"].totals, record.totals, rtol=1e-6)


def test_damage_is_said(tmp_path: Path) -> None:
    (tmp_path / "records.npz").write_bytes(b"not an archive")
    with pytest.raises(EvaluationError, match="delete it"):
        load_records(tmp_path / "records.npz")
