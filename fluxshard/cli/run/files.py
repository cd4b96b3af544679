"""Writes what is known at the end of a run: `summary.json` and `summary.png`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fluxshard.cli.run.output_directory import FIGURE, OUTPUTS, PLACEMENTS, SUMMARY
from fluxshard.files import write_whole
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.summary import summarise
from fluxshard.pipeline.summary_figure import draw_summary


def write_results(records: Sequence[FrameRecord], facts: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Writes both files; returns the summary."""
    summary = summarise(records, facts)
    write_whole(out / SUMMARY, (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())
    draw_summary(records, summary, out / FIGURE)
    return summary


def remove_outputs(out: Path) -> None:
    """Removes the files of a run of which nothing came, so that the next try finds the directory as it was."""
    for name in (*OUTPUTS, PLACEMENTS):
        (out / name).unlink(missing_ok=True)
