"""The panel of a run's picture that shows which endpoint answered each frame, and how old the frame was by then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fluxshard.pipeline.frame_record import FrameRecord

EDGE, CLOUD, AGE, TROUBLE = "#e8590c", "#1971c2", "#868e96", "#c92a2a"


def draw_placement(axis: Any, frames: Sequence[int], records: Sequence[FrameRecord]) -> None:
    """Draws the age of frames as a line, the answering endpoint as its colour, and marks what went wrong.

    Args:
      axis: of matplotlib.
      frames: numbers of the frames.
      records: of the frames; those without placement are left out.
    """
    ages = np.array([record.age_ms or record.incremental_ms for record in records])
    axis.plot(frames, ages, color=AGE, linewidth=0.9, zorder=1)
    by = [None if record.placement is None else record.placement["answered_by"] for record in records]
    for name, label, colour in (
        ("edge", "answered here", EDGE),
        ("cloud", "answered by the server", CLOUD),
        ("none", "not answered", TROUBLE),
    ):
        chosen = [index for index, one in enumerate(by) if one == name]
        if chosen:
            axis.scatter(np.array(frames)[chosen], ages[chosen], s=9, color=colour, label=label, zorder=3, linewidths=0)
    both = [i for i, record in enumerate(records) if record.placement is not None and record.placement["hedged"]]
    if both:
        axis.scatter(
            np.array(frames)[both], ages[both], s=42, facecolors="none", edgecolors=TROUBLE, linewidths=1.0,
            label="both were started", zorder=2,
        )  # fmt: skip
    closed = [i for i, record in enumerate(records) if record.placement is not None and _is_away(record.placement)]
    for first, last in _runs(closed):
        axis.axvspan(frames[first] - 0.5, frames[last] + 0.5, color=TROUBLE, alpha=0.08, linewidth=0, zorder=0)
    if len(ages):
        axis.set_ylim(0, 1.25 * max(1.0, float(np.percentile(ages, 98))))
    axis.set_ylabel("age at the answer (ms)")


def _is_away(placement: Any) -> bool:
    """There was no server, rather than one that was busy."""
    return bool(placement["cloud_open"]) and placement["cloud_open"] != "a frame is under way"


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of every run of numbers without a gap."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index - 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return found
