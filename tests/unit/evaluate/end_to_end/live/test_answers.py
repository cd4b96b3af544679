"""Answers on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.end_to_end.live.answers import Answers
from tests.unit.evaluate.end_to_end.live.small_runs import answers, row, same


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    given = answers(row(0), row(1, answered=0, cloud=0), watched_ms=123.0)
    given.save(tmp_path)
    assert same(Answers.load(tmp_path, "clip"), given)
    with pytest.raises(EvaluationError, match="other"):
        Answers.load(tmp_path, "other")
