"""The log of a search: what is read back, and what damage costs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fluxshard.evaluate.calibration.coordinate_descent import MeasuredPoint
from fluxshard.evaluate.calibration.search_log import SearchLog, frontier_facts

POINTS = [MeasuredPoint({"x": 0.1, "y": 2.0}, 0.5, 0.9), MeasuredPoint({"x": 1 / 3, "y": 0.0}, 0.1, math.nan)]


def log_of(path: Path, *points: MeasuredPoint, **key: object) -> SearchLog:
    log = SearchLog(path, {"clips": ["bear"], **key})
    for point in points:
        log.add(point)
    return log


def test_a_log_reads_what_was_added(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log")
    assert log.read() == [] and not (tmp_path / "log").exists()
    log_of(tmp_path / "log", *POINTS)
    assert repr(log.read()) == repr(POINTS)  # NaN equals nothing
    log_of(tmp_path / "log", POINTS[0])
    assert repr(log.read()) == repr([*POINTS, POINTS[0]])


def test_points_of_another_key_are_not_used(tmp_path: Path) -> None:
    log_of(tmp_path / "log", POINTS[0], size=[64, 96])
    other = log_of(tmp_path / "log", POINTS[1], size=[64, 128])
    assert repr(other.read()) == repr(POINTS[1:])
    assert log_of(tmp_path / "log", size=[64, 96]).read() == POINTS[:1]
    assert SearchLog(tmp_path / "log", {"size": [64, 96], "clips": ["bear"]}).read() == POINTS[:1]  # in any order


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"question": 1}', b"\n\n", b"7", b'"text"']
)
def test_damaged_lines_are_left_out(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "log"
    log = log_of(path, POINTS[0])
    path.write_bytes(damage + b"\n" + path.read_bytes() + damage + b"\n")
    log.add(POINTS[0])
    assert log.read() == [POINTS[0]] * 2


def test_a_line_without_its_numbers_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = log_of(path, POINTS[0])
    entry = json.loads(path.read_text())
    for name in ("point", "work", "accuracy"):
        with path.open("a") as file:
            file.write(json.dumps({key: value for key, value in entry.items() if key != name}) + "\n")
    with path.open("a") as file:
        file.write(json.dumps({**entry, "work": "much"}) + "\n")
    assert log.read() == POINTS[:1]


def test_half_a_line_costs_one_point_and_no_more(tmp_path: Path) -> None:
    """A search that is stopped while it writes goes on with a line of its own."""
    path = tmp_path / "log"
    log = log_of(path, POINTS[0], POINTS[0])
    path.write_bytes(path.read_bytes()[:-7])
    log.add(MeasuredPoint({"x": 5.0}, 0.2, 0.8))
    assert log.read() == [POINTS[0], MeasuredPoint({"x": 5.0}, 0.2, 0.8)]


def test_the_frontier_of_a_search() -> None:
    points = [
        MeasuredPoint({"x": 1.0}, 0.5, 0.9),
        MeasuredPoint({"x": 2.0}, 0.6, 0.8),
        MeasuredPoint({"x": 3.0}, 0.2, 0.7),
    ]
    assert frontier_facts(points) == [
        {"work": 0.2, "accuracy": 0.7, "point": {"x": 3.0}},
        {"work": 0.5, "accuracy": 0.9, "point": {"x": 1.0}},
    ]
