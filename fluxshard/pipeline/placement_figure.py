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
    limit_axis(axis, frames, [(ages, AGE)], unit="ms")
    axis.set_ylabel("age at the answer (ms)")


def limit_axis(axis: Any, frames: Sequence[int], lines: Sequence[tuple[Any, str]], *, unit: str) -> None:
    """Ends the vertical axis where single outliers do not flatten everything else, and marks those that are beyond it.

    Args:
      axis: of matplotlib.
      frames: numbers of the frames.
      lines: values for each frame, not all of which are finite, and the colour of each line.
      unit: of the values.
    """
    values = np.concatenate([np.asarray(line, np.float64) for line, _ in lines])
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    largest, limit = float(finite.max()), 1.25 * float(np.percentile(finite, 98))
    if largest <= 1.3 * limit:
        limit = 1.06 * largest
    limit = limit if limit > 0 else 1.0
    axis.set_ylim(0, limit)
    label: str | None = f"beyond the scale: up to {largest:.3g} {unit}".rstrip()
    for line, colour in lines:
        beyond = [index for index, value in enumerate(line) if np.isfinite(value) and value > limit]
        if beyond:
            axis.scatter(
                [frames[index] for index in beyond], [limit] * len(beyond), s=34, marker="^", color=colour, zorder=4,
                clip_on=False, label=label, linewidths=0,
            )  # fmt: skip
            label = None


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
