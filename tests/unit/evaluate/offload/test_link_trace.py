"""Recorded links: how long an upload takes, and the tiers of the paper."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cloud.link_emulation.options import LEAST_MBPS
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.link_trace import LinkTable, LinkTrace, read_trace, tiers

rates = st.lists(st.floats(0, 1000), min_size=1, max_size=6).map(tuple)


def test_an_upload_goes_through_every_second() -> None:
    link = LinkTrace("a", (8.0, 16.0, 0.0))  # 1 and 2 kB per ms, then next to nothing
    assert link.arrival_ms(0, 500_000) == pytest.approx(500)
    assert link.arrival_ms(0, 1_500_000) == pytest.approx(1250)
    assert link.arrival_ms(1999, 2000 + 1000 * LEAST_MBPS * 125 + 1000) == pytest.approx(3001)
    assert link.arrival_ms(10, 0) == 10
    assert link.arrival_ms(3000, 500_000) == pytest.approx(3500)  # from the start again


@given(rates, st.floats(0, 5000), st.floats(0, 1e6))
def test_what_has_arrived_was_sent(mbps: tuple[float, ...], start: float, n_bytes: float) -> None:
    link = LinkTrace("a", mbps)
    arrived = link.arrival_ms(start, n_bytes)
    assert arrived >= start and link.sent_bytes(start, arrived) == pytest.approx(n_bytes, rel=1e-6, abs=1e-3)


@given(rates, st.floats(0, 3000), st.floats(0, 1e5), st.floats(0, 1e5))
def test_more_bytes_arrive_later(mbps: tuple[float, ...], start: float, n_bytes: float, more: float) -> None:
    link = LinkTrace("a", mbps)
    assert link.arrival_ms(start, n_bytes) <= link.arrival_ms(start, n_bytes + more) + 1e-6


@given(rates, st.lists(st.tuples(st.floats(0, 9000), st.floats(0, 1e5)), min_size=1, max_size=8))
def test_a_table_of_arrivals_has_those_of_the_link(mbps: tuple[float, ...], uploads: list[tuple[float, float]]) -> None:
    link = LinkTrace("a", mbps)
    starts, n_bytes = (np.array(values) for values in zip(*uploads, strict=True))
    until = max(link.arrival_ms(*upload) for upload in uploads)
    found = LinkTable(link, until).arrivals_ms(starts, n_bytes)
    assert found == pytest.approx([link.arrival_ms(*upload) for upload in uploads], rel=1e-6, abs=1e-3)


def test_what_arrives_after_the_end_of_a_table_never_does() -> None:
    table = LinkTable(LinkTrace("a", (8.0,)), 2000.0)  # 3 seconds, 1 kB per ms
    assert table.arrivals_ms(np.array([0.0]), np.array([4e6])).tolist() == [np.inf]


def test_both_kinds_of_files(tmp_path: Path) -> None:
    (tmp_path / "4g").write_text("0 10.5\n1 0\n\n2 7\n")
    (tmp_path / "run.csv").write_text("t_s,uplink_mbps\n1,464\n2,65.5\n")
    assert read_trace(tmp_path / "4g").mbps == (10.5, 0.0, 7.0)
    assert read_trace(tmp_path / "run.csv").mbps == (464.0, 65.5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a", "0\n", "cannot be read: IndexError"),
        ("a", "0 fast\n", "cannot be read: ValueError"),
        ("a.csv", "t_s,mbps\n1,2\n", "cannot be read: KeyError"),
        ("a", "", "must have rates"),
        ("a", "0 -1\n", "must have rates"),
        ("a", "0 nan\n", "must have rates"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(EvaluationError, match=message):
        read_trace(tmp_path / name)
    with pytest.raises(EvaluationError, match="there are no link traces"):
        tiers(tmp_path)


def test_the_paper_s_tiers(data_dir: Path) -> None:
    """The pooled means are those that the paper states for its tiers."""
    root = data_dir / "traces"
    if not root.is_dir():
        pytest.skip(f"no link traces in {root}")
    means = {
        tier: statistics.fmean(rate for trace in traces for rate in trace.mbps) for tier, traces in tiers(root).items()
    }
    assert means["low"] == pytest.approx(40.4, abs=0.1)
    assert means["medium"] == pytest.approx(382.8, abs=0.1)
    assert means["high"] == pytest.approx(596.9, abs=0.1)
    assert 20 < means["uplink"] < 100
