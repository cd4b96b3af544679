"""Figures of a run, computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end.live.figures import live_figures
from fluxshard.evaluate.end_to_end.live.methods import METHODS, live_methods
from fluxshard.evaluate.end_to_end.workload import EnergyModel
from tests.unit.evaluate.end_to_end.live.small_runs import answers, row, run, uncounted

RAW = 1000
ENERGY = EnergyModel(wait_w=4.0, busy_w=10.0)


def test_a_run_by_hand() -> None:
    edge = row(1, cloud=0, hedged=1, latency_ms=300.0, after_ms=210.0, sent_bytes=300, compute=1.0)
    silent = row(2, answered=0, cloud=0, latency_ms=50.0, sent_bytes=100)
    given = run(answers(row(0), edge, silent, row(5), watched_ms=600.0))
    accuracy, dense = np.array([0.9, 0.6, np.nan, 0.9]), np.array([1.0, 0.8, 1.0, 1.0])
    one = live_figures(given, [accuracy], [dense], RAW, ENERGY)
    assert (one.frames, one.unanswered, one.fps) == (3, 1, pytest.approx(5))
    assert (one.mean_ms, one.p50_ms, one.max_ms) == (pytest.approx(500 / 3), 100, 300)
    assert (one.edge_ms, one.cloud_ms) == (300, 100)
    assert sum(one.parts_ms.values()) == pytest.approx(one.mean_ms)
    assert one.tx == pytest.approx(600 / 3 / RAW) and one.kb == pytest.approx(0.2)
    assert one.wasted == pytest.approx(400 / 600)  # what went up for the edge's frame, and for that without an answer
    assert one.compute == pytest.approx(2 / 3)
    assert (one.cloud, one.hedged) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert one.accuracy == pytest.approx(0.8) and one.dense_accuracy == pytest.approx(2.8 / 3)
    assert one.loss == pytest.approx(1 - 2.4 / 2.8)
    # answers at 100, 400 and 600 ms, of frames captured at 0, 100 and 500: ages 100 to 400, then 300 to 500
    assert one.age_ms == pytest.approx((300 * 250 + 200 * 400) / 500)
    assert one.missed == pytest.approx(1 - 4 / 16)  # of frames 0 to 15
    assert (one.edge_mib, one.server_mib) == (300, 500)
    assert json.dumps(one.as_values())


def test_moved_results_have_no_parts() -> None:
    """Their own frames' networks may still run when they are given."""
    timely = next(method for method in METHODS if method.within_ms is not None)
    one = live_figures(run(answers(row(0), row(1)), method=timely), [np.ones(2)], [np.ones(2)], RAW, ENERGY)
    assert one.mean_ms == pytest.approx(100) and all(np.isnan(part) for part in one.parts_ms.values())
    assert np.isnan(one.energy_j) and one.busy_ms == 20  # the edge is at work for longer than the answers take


def test_clips_are_pooled_by_frame() -> None:
    given = run(answers(row(0), row(1)), answers(row(0, latency_ms=400.0), clip="other"))
    values = [np.array([1.0, 1.0]), np.array([0.4])]
    one = live_figures(given, values, [np.ones(2), np.ones(1)], RAW, ENERGY)
    assert one.mean_ms == pytest.approx(200) and one.accuracy == pytest.approx(0.8)
    assert one.fps == pytest.approx(3 / 0.8)


def test_an_edge_alone_has_no_server() -> None:
    given = run(answers(row(0, cloud=0, sent_bytes=0), row(1, cloud=0, sent_bytes=0)), server_mib=None)
    one = live_figures(given, [np.full(2, np.nan)], [np.full(2, np.nan)], RAW, ENERGY)
    assert (one.tx, one.wasted, one.cloud) == (0, 0, 0)
    assert np.isnan(one.server_mib) and np.isnan(one.cloud_ms)
    assert one.accuracy is None and one.loss is None


def test_energy_by_hand() -> None:
    """Of three answered frames of 200 ms; what the edge computed for the fourth is theirs too."""
    rows = (row(0), row(1, latency_ms=300.0, busy_ms=90.0), row(2, latency_ms=200.0), row(3, answered=0, busy_ms=50.0))
    one = live_figures(run(answers(*rows, metered_mj=6000.0)), [np.ones(4)], [np.ones(4)], RAW, ENERGY)
    assert one.busy_ms == pytest.approx((20 + 90 + 20 + 50) / 3)
    assert one.energy_j == pytest.approx(4.0 * 0.200 + 10.0 * 0.060)
    assert one.metered_j == pytest.approx(2.0)


def test_a_clip_without_a_meter_is_not_counted_as_0() -> None:
    given = run(answers(row(0), row(1), metered_mj=6000.0), answers(row(0), clip="other"))
    assert np.isnan(live_figures(given, [np.ones(2), np.ones(1)], [np.ones(2), np.ones(1)], RAW, ENERGY).metered_j)


@pytest.mark.parametrize(
    ("name", "busy_ms"),
    [
        ("edge only", 15.0),  # half of the frames are the edge's
        ("offload raw", 15.0),  # nothing is tested: what comes before is encoding
        ("offload H.264", 15.0),
        ("FluxShard planned, raw", 20.0),  # with 5 ms of tests
    ],
)
def test_busy_times_of_runs_that_have_not_counted_them(name: str, busy_ms: float) -> None:
    (method,) = live_methods([name])
    given = run(uncounted(answers(row(0, cloud=0), row(1))), method=method)
    assert live_figures(given, [np.ones(2)], [np.ones(2)], RAW, ENERGY).busy_ms == pytest.approx(busy_ms)
