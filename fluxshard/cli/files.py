"""Writes what is known at the end of a run: `summary.json` and `summary.png`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fluxshard.cli.figure import draw_summary
from fluxshard.cli.records import FrameRecord
from fluxshard.cli.settings import FIGURE, SUMMARY
from fluxshard.cli.summary import summarise


def write_results(records: Sequence[FrameRecord], facts: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Writes both files; returns the summary."""
    summary = summarise(records, facts)
    (out / SUMMARY).write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    draw_summary(records, summary, out / FIGURE)
    return summary


def remove_if_nothing_ran(records: Sequence[FrameRecord], *paths: Path) -> None:
    """Removes files that a run opened and never filled, so that the next try finds the directory as it was."""
    if not records:
        for path in paths:
            path.unlink(missing_ok=True)
