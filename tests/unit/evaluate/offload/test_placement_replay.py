"""Records of live runs: every decision is made again, and compared with what the other endpoint took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.placement_replay import replay_placements, replay_run
from fluxshard.pipeline.json_values import plain
from fluxshard.runtime.offload.dispatch import DispatchInputs, DispatchOptions, Endpoint, decide

OPTIONS = DispatchOptions(margin_ms=3.0)
SUMMARY = {"offload": {"dispatch": "hedged", "margin_ms": 3.0, "deadline_ms": None, "minimize": "latency"}}


def placed(
    number: int, answered_by: Endpoint, edge_ms: float | None, cloud_ms: float | None, latency_ms: float,
    options: DispatchOptions = OPTIONS,
) -> dict[str, Any]:  # fmt: skip
    """A settled record of a frame that was expected to take 20 ms on the edge and 10 in the cloud; 4 ms before that."""
    inputs = DispatchInputs(edge_ms=20.0 + number / 3, cloud_ms=10.0, uplink_bytes_per_ms=1000.0)
    record = PlacementRecord(frame=number, inputs=inputs, decision=decide(inputs, options), answered_by=answered_by)
    record.edge_ms, record.cloud_ms, record.latency_ms, record.pre_ms = edge_ms, cloud_ms, latency_ms, 4.0
    return plain(record.as_dict())  # type: ignore[no-any-return]


RECORDS = [
    placed(0, "cloud", None, 12.0, 16.0),
    placed(1, "edge", 20.0, 30.0, 26.0),  # the faster one; 2 ms for what comes after it
    placed(2, "edge", 20.0, 12.0, 26.0),  # a refresh that was faster
    placed(3, "edge", 20.0, 200.0, 54.0) | {"hedged": True},  # the edge began after 30 ms
]


def write(path: Path, records: list[Any], name: str = "placements.jsonl") -> Path:
    (path / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return path / name


def test_an_honest_run_is_reproduced(tmp_path: Path) -> None:
    found = replay_placements(write(tmp_path, RECORDS), OPTIONS)
    assert found.frames == 4 and found.mismatches == ()
    compared = found.compared
    assert compared is not None and compared.frames == 3 and compared.wrong == 1
    assert compared.oracle_ms == pytest.approx((20 + 12 + 20) / 3)
    assert compared.answered_ms == pytest.approx((20 + 20 + 50) / 3)
    assert compared.regret_ms == pytest.approx((0 + 8 + 30) / 3)
    assert compared.edge_ms == 20 and compared.cloud_ms == pytest.approx((30 + 12 + 200) / 3)


def test_the_edge_may_not_run_what_it_has_not_tested(tmp_path: Path) -> None:
    inputs = DispatchInputs(edge_ms=5.0, cloud_ms=10.0, uplink_bytes_per_ms=1000.0)
    record = PlacementRecord(frame=7, inputs=inputs, decision=decide(inputs, OPTIONS), edge_tested=False)
    away = RECORDS[0] | {"edge_tested": False}
    found = replay_placements(write(tmp_path, [away, plain(record.as_dict())]), OPTIONS)
    assert [mismatch.frame for mismatch in found.mismatches] == [7]


def test_lines_of_frames_hold_records_too(tmp_path: Path) -> None:
    lines = [{"frame": record["frame"], "placement_record": record} for record in RECORDS]
    assert replay_placements(write(tmp_path, [*lines, {"frame": 9}]), OPTIONS) == replay_placements(
        write(tmp_path, RECORDS), OPTIONS
    )


def test_decisions_that_the_inputs_do_not_give(tmp_path: Path) -> None:
    other = placed(4, "edge", 20.0, None, 24.0)
    other["decision"]["endpoint"] = "edge"
    slower = placed(5, "edge", 20.0, None, 24.0)
    slower["decision"]["cloud_ms"] += 0.001
    found = replay_placements(write(tmp_path, [*RECORDS, other, slower]), OPTIONS)
    assert [mismatch.frame for mismatch in found.mismatches] == [4, 5]
    assert found.mismatches[0].recorded.endpoint == "edge" and found.mismatches[0].decided.endpoint == "cloud"
    wide = replay_placements(write(tmp_path, RECORDS), DispatchOptions(policy="paper"))
    assert wide.mismatches == (), "here both policies expect the same: nothing waits, and there is no propagation"


def test_a_run_without_frames_that_both_ran(tmp_path: Path) -> None:
    assert replay_placements(write(tmp_path, RECORDS[:1]), OPTIONS).compared is None


def test_a_run_s_directory(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="No such file"):
        replay_run(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    write(tmp_path, [{"frame": record["frame"], "placement_record": record} for record in RECORDS[:2]], "frames.jsonl")
    assert replay_run(tmp_path).frames == 2
    write(tmp_path, RECORDS)
    assert replay_run(tmp_path).frames == 4, "settled records say more"


@pytest.mark.parametrize(
    "summary", ["{}", "[]", "no", '{"offload": {"plan": "server"}}',
                '{"offload": {"dispatch": "best", "margin_ms": 1.0, "deadline_ms": null, "minimize": "latency"}}'],
)  # fmt: skip
def test_directories_of_other_runs(tmp_path: Path, summary: str) -> None:
    (tmp_path / "summary.json").write_text(summary)
    with pytest.raises(EvaluationError, match="does not say how a run in two places was dispatched"):
        replay_run(tmp_path)


def test_files_of_other_runs(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot be read: No such file"):
        replay_placements(tmp_path / "none.jsonl", OPTIONS)
    with pytest.raises(EvaluationError, match="has no placement records"):
        replay_placements(write(tmp_path, [{"frame": 1}, 3, {"placement_record": None}]), OPTIONS)
    (tmp_path / "damaged.jsonl").write_text("{\n")
    with pytest.raises(EvaluationError, match="cannot be read: JSONDecodeError"):
        replay_placements(tmp_path / "damaged.jsonl", OPTIONS)


def test_a_line_without_its_end_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, RECORDS)
    path.write_text(path.read_text() + '{"frame": 4, "inp')
    assert replay_placements(path, OPTIONS).frames == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [("inputs", {"edge_ms": 1.0}), ("inputs", {"edge_ms": 1.0, "cloud_ms": 2.0, "wind": 3}), ("inputs", 3),
     ("decision", {}), ("edge_ms", "fast")],
)  # fmt: skip
def test_records_of_another_version(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(EvaluationError, match=r"record 1 of .* is one of another version"):
        replay_placements(write(tmp_path, [RECORDS[0], RECORDS[1] | {name: value}]), OPTIONS)
