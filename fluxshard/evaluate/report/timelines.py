"""Plots of one clip over its frames.

Each function writes one PNG or SVG file, by suffix, creates its directory if missing, and returns its path.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.report.grouping import by_method, score_of
from fluxshard.evaluate.report.measures import measure_named
from fluxshard.evaluate.report.plot_style import DENSE, annotate, canvas, plain, save, style_of


def draw_remap(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    clip: str,
    with_remap: str,
    without_remap: str,
    frames: int = 100,
    title: str = "What remapping the caches is good for",
) -> Path:
    """Plots reuse ratio and compute ratio with and without cache remapping over the first frames of a clip.

    Source: the paper's Fig. 1d.

    Args:
      scores: scores of both methods on the clip.
      path: file of the picture.
      clip: name of the clip.
      with_remap, without_remap: names of the methods.
      frames: maximum number of frames; the first frame of the clip, which fills the caches, is excluded.
      title: title of the picture.

    Raises:
      EvaluationError: a method was not evaluated on the clip, or the clip has no frame after the first.
      OptionError: the suffix of `path` is neither .png nor .svg.
    """
    grouped = by_method(scores)
    found = [score_of(grouped, method, clip) for method in (with_remap, without_remap)]
    figure, (reuse, compute) = canvas(path, 2, size=(8.0, 6.0))
    for index, entry in enumerate(found):
        counted = entry.frames[1 : 1 + frames]
        if not counted:
            raise EvaluationError(f"clip {clip!r} has no frame after the first with {entry.method!r}; nothing to draw")
        style = style_of(index)
        x = range(1, 1 + len(counted))
        look = {"color": style.colour, "linewidth": 1.6, "label": plain(entry.method)}
        reuse.plot(x, [100 * (1 - frame.recompute_ratio) for frame in counted], **look)
        compute.plot(x, [100 * frame.compute_ratio for frame in counted], **look)
    reuse.set_ylim(0, 102)
    reuse.set_ylabel("reuse ratio\n(% of pixels)")
    compute.set_ylim(bottom=0)
    compute.set_ylabel("compute ratio\n(% of dense)")
    _frame_axis(compute)
    annotate(figure, reuse, f"{title}: {clip}")
    return save(figure, path)


def draw_clip(
    scores: Sequence[ClipScores],
    path: Path,
    *,
    clip: str,
    methods: Sequence[str] | None = None,
    dense: str = "dense",
    measure: str = "jaccard",
    title: str = "Accuracy over frames",
) -> Path:
    """Plots a measure over the frames of a clip: one line per method, the dense network in grey.

    Keyframes of a method are marked at the bottom in its colour. The first frame is excluded.

    Args:
      scores: scores of the methods on the clip.
      path: file of the picture.
      clip: name of the clip.
      methods: names of the methods to draw; None draws all that were evaluated on the clip.
      dense: name of the method drawn in grey; added where `methods` lacks it, if it was evaluated on the clip.
      measure: name of the measure of accuracy.
      title: title of the picture.

    Raises:
      EvaluationError: a method was not evaluated on the clip, or no frame has the measure.
      OptionError: there is no such measure, or the suffix of `path` is neither .png nor .svg.
    """
    kind = measure_named(measure)
    grouped = by_method(scores)
    chosen = [method for method in grouped if clip in grouped[method]] if methods is None else list(methods)
    if dense not in chosen and clip in grouped.get(dense, {}):
        chosen = [dense, *chosen]
    figure, (axis,) = canvas(path, size=(9.0, 4.6))
    coloured = 0
    drawn, lowest, highest = False, 1.0, 0.0
    for method in chosen:
        entry = score_of(grouped, method, clip)
        values = np.array([np.nan if value is None else value for value in kind.of_frames(entry)[1:]])
        if not np.isfinite(values).any():
            continue
        drawn = True
        lowest, highest = min(float(np.nanmin(values)), lowest), max(float(np.nanmax(values)), highest)
        x = np.arange(1, 1 + len(values))
        if method == dense:
            axis.plot(x, values, color=DENSE, linewidth=3, alpha=0.6, label=plain(method), zorder=2)
            continue
        style = style_of(coloured)
        coloured += 1
        axis.plot(x, values, color=style.colour, linestyle=style.line, linewidth=1.4, label=plain(method), zorder=3)
        whole = [index for index, frame in enumerate(entry.frames) if index > 0 and frame.keyframe]
        axis.plot(
            whole, np.full(len(whole), 0.02 * coloured), transform=axis.get_xaxis_transform(), color=style.colour,
            marker="|", linestyle="none",
        )  # fmt: skip
    if not drawn:
        raise EvaluationError(
            f"no method has {kind.symbol} of a frame of clip {clip!r} after the first; nothing to draw"
        )
    room = 0.08 * (highest - lowest) + 0.02
    axis.set_ylim(max(-0.02, lowest - 2 * room), min(1.02, highest + room))
    axis.set_ylabel(kind.symbol)
    _frame_axis(axis)
    note = f"{kind.symbol}: {kind.meaning}. Ticks at the bottom: frames that were computed whole."
    annotate(figure, axis, f"{title}: {clip}", note)
    return save(figure, path)


def _frame_axis(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel("frame")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
