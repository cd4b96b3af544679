"""Answers on disk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.end_to_end.content.recordings import load_arrays, save_arrays
from fluxshard.evaluate.end_to_end.live.answers import COLUMNS, Answers
from tests.unit.evaluate.end_to_end.live.small_runs import answers, row, same


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    given = answers(row(0), row(1, answered=0, cloud=0), watched_ms=123.0, metered_mj=4.5)
    given.save(tmp_path)
    assert same(Answers.load(tmp_path, "clip"), given)
    with pytest.raises(EvaluationError, match="other"):
        Answers.load(tmp_path, "other")


def test_answers_without_busy_times_and_a_meter_are_loaded(tmp_path: Path) -> None:
    given = answers(row(0), row(1))
    given.save(tmp_path)
    stored = load_arrays(tmp_path / "clip.npz")
    save_arrays(
        tmp_path / "clip.npz", **{name: stored[name] for name in stored if name not in ("busy_ms", "metered_mj")}
    )
    found = Answers.load(tmp_path, "clip")
    assert list(found.columns) == [name for name in COLUMNS if name != "busy_ms"]
    assert math.isnan(found.metered_mj) and found.watched_ms == given.watched_ms
