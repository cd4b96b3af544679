"""Lines of JSON: each is there at once, and what JSON cannot hold is None."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fluxshard.pipeline.sinks.line_file import LineFile


def test_a_line_per_record_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "placements.jsonl"
    path.write_text("of a run before\n")
    with LineFile(path) as lines:
        lines.append({"frame": 0, "inputs": {"edge_ms": math.inf}})
        assert json.loads(path.read_text()) == {"frame": 0, "inputs": {"edge_ms": None}}
        lines.append({"frame": 1})
    assert [json.loads(line)["frame"] for line in path.read_text().splitlines()] == [0, 1]


def test_what_was_written_stays_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "placements.jsonl"
    with pytest.raises(KeyError), LineFile(path) as lines:
        lines.append({"frame": 0})
        raise KeyError
    assert path.read_text() == '{"frame": 0}\n'


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LineFile(tmp_path / "none" / "placements.jsonl")
