"""All methods on links: once, in the order of the links, and several edges together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end import replays
from fluxshard.evaluate.end_to_end.entrants import (
    CARRIED,
    EDGE_ONLY,
    ENTRANTS,
    H264,
    OFFLOAD,
    OPTIMUM,
    PLANNED,
    TOGETHER,
)
from fluxshard.evaluate.end_to_end.replays import edges_name, run_link, run_replays, turned
from tests.unit.evaluate.end_to_end.materials import FADING, FAST, material, task


@pytest.fixture(scope="module")
def records() -> replays.Records:
    """All methods on a fast link."""
    return run_link(task())


def test_every_method_answers(records: replays.Records) -> None:
    alone = {one.name for one in ENTRANTS}
    assert set(records) == alone | {
        edges_name(name, edges, camera) for name in TOGETHER for edges in (1, 3) for camera in range(edges)
    }
    np.testing.assert_allclose(records[EDGE_ONLY].latency_ms, 8 + 446.8)
    assert not records[EDGE_ONLY].cloud.any() and not records[EDGE_ONLY].totals.any()
    # 192 bytes at 6250 a millisecond
    np.testing.assert_allclose(records[OFFLOAD].latency_ms, 8 + 192 / 6250 + 40 + 27.6)
    assert (records[H264].work == 1).all() and records[H264].cloud.all()
    # its cache is one or two frames old: 10% or 20% of the work
    planned = records[PLANNED]
    assert set(np.round(planned.work[1:], 6)) == {0.1, 0.2}
    np.testing.assert_allclose(planned.latency_ms, 8 + 40 + 3 + 24.6 * planned.work, atol=0.1)
    for one in ENTRANTS:
        if one.strategy is not None:
            np.testing.assert_allclose(records[one.name].parts.sum(1), records[one.name].latency_ms, err_msg=one.name)


def test_carried_frames_take_next_to_nothing(records: replays.Records) -> None:
    carried = records[CARRIED]
    repeated = carried.repeated > 0
    assert repeated.any() and not repeated.all()
    np.testing.assert_allclose(carried.latency_ms[repeated], 9)
    assert not carried.work[repeated].any() and not carried.busy_ms[repeated].any()
    assert (4 + carried.frame[repeated].astype(int) % 6) % 2 == pytest.approx(1)  # frames that were carried in the clip


def test_coach_repeats_what_is_similar() -> None:
    alike = task()
    found = run_link(replays.LinkTask(
        tier="low", number=1, link=FAST, materials=(material(similar=0.99),), slopes={}, options=alike.options
    ))["COACH"]  # fmt: skip
    assert not found.repeated[0] and found.repeated[1:].all()
    assert (found.latency_ms[1:] == 8).all()


def test_oracles_are_found_for_the_first_links_only() -> None:
    later = run_link(task("low", 1))
    assert not any(one.kind == "oracle" and one.name in later for one in ENTRANTS)
    assert not any("edges" in name for name in later)


def test_the_optimum_is_no_worse_than_anything(records: replays.Records) -> None:
    best = records[f"planned, raw: {OPTIMUM}"].latency_ms.mean()
    for label in ("greedy oracle", "always cloud", "always edge"):
        assert best <= records[f"planned, raw: {label}"].latency_ms.mean() + 0.1


def test_one_of_one_edge_is_alone_and_more_edges_wait(records: replays.Records) -> None:
    np.testing.assert_array_equal(records[edges_name(OFFLOAD, 1, 0)].latency_ms, records[OFFLOAD].latency_ms)
    slow = run_link(task(link=FADING))
    waits = [slow[edges_name(OFFLOAD, 3, camera)].latency_ms.mean() for camera in range(3)]
    assert max(waits) > slow[OFFLOAD].latency_ms.mean()


def test_what_was_replayed_is_not_replayed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task("low", 0), task("low", 1, FADING)]
    told: list[str] = []
    first = run_replays(tasks[:1], tmp_path, facts={}, on_done=told.append)
    assert told == ["low: fast: 1 of 1 links"]
    ran: list[str] = []
    run = replays.run_link
    monkeypatch.setattr(replays, "run_link", lambda one: ran.append(one.link.name) or run(one))
    again = run_replays(tasks, tmp_path, facts={})
    assert ran == ["fading"]
    np.testing.assert_array_equal(again[0][PLANNED].latency_ms, first[0][PLANNED].latency_ms)
    run_replays(tasks[:1], tmp_path, facts={"materials": "others"})
    assert ran == ["fading", "fast"]


def test_clips_take_turns() -> None:
    clips = [material(name) for name in "abc"]
    assert ["".join(one.name for one in turned(clips, number)) for number in range(4)] == ["abc", "bca", "cab", "abc"]
