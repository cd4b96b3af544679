"""Plots of the evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fluxshard.evaluate.end_to_end.entrants import (
    CARRIED,
    EDGE_ONLY,
    ENTRANTS,
    H264,
    OFFLOAD,
    PAPERS,
    PLANNED,
    PLANNED_RAW,
)
from fluxshard.evaluate.end_to_end.records import PARTS
from fluxshard.evaluate.end_to_end.report.results import Results
from fluxshard.evaluate.end_to_end.report.tables import PART_NAMES
from fluxshard.evaluate.report.plot_style import COLOURS, QUIET, annotate, canvas, save, style_of

DRAWN = (EDGE_ONLY, OFFLOAD, H264, "COACH", "DeltaCNN", "MotionDeltaCNN", PAPERS, PLANNED_RAW, PLANNED, CARRIED)
_TAILS = (OFFLOAD, H264, PAPERS, PLANNED_RAW, PLANNED)


def draw_latency_and_energy(results: Results, path: Path) -> Path:
    """Mean latency with its standard deviation, and energy, per tier (the paper's Fig. 4)."""
    figure, axes = canvas(path, len(results.tiers), size=(9.0, 2.2 * len(results.tiers) + 1.4))
    for axis, tier in zip(axes, results.tiers, strict=True):
        own = [results.methods[tier, name] for name in DRAWN]
        at = np.arange(len(DRAWN), dtype=np.float64)
        means, spread = np.array([one.mean_ms for one in own]), np.array([one.sd_ms for one in own])
        below = np.minimum(spread, means)
        axis.bar(
            at - 0.2, means, 0.38, color=COLOURS[1], label="latency, ms", yerr=[below, spread],
            error_kw={"ecolor": QUIET, "linewidth": 0.8},
        )  # fmt: skip
        axis.set_ylim(0, 1.25 * float(means.max()))
        axis.set_ylabel(f"{tier}: ms")
        energy = axis.twinx()
        joules = [one.energy_j for one in own]
        energy.bar(at + 0.2, joules, 0.38, color=COLOURS[0], alpha=0.7)
        energy.set_ylim(0, 1.25 * max(joules))
        energy.set_ylabel("J")
        energy.spines[["top"]].set_visible(False)
        axis.bar([0], [0], color=COLOURS[0], alpha=0.7, label="edge's energy, J (modelled)")
    axes[-1].set_xticks(range(len(DRAWN)), [_short(name) for name in DRAWN], fontsize=7)
    annotate(figure, axes[0], "Latency and energy of a frame", "Lines: one standard deviation.")
    return save(figure, path)


def draw_parts(results: Results, path: Path) -> Path:
    """What mean latency consists of, per tier (the paper's Fig. 5)."""
    figure, axes = canvas(path, len(results.tiers), size=(9.0, 2.2 * len(results.tiers) + 1.4))
    for axis, tier in zip(axes, results.tiers, strict=True):
        bottom = np.zeros(len(DRAWN))
        for number, part in enumerate(PARTS):
            values = np.array([results.methods[tier, name].parts_ms[part] for name in DRAWN])
            axis.bar(range(len(DRAWN)), values, bottom=bottom, color=COLOURS[number], label=PART_NAMES[part])
            bottom += values
        axis.set_ylabel(f"{tier}: ms")
    axes[-1].set_xticks(range(len(DRAWN)), [_short(name) for name in DRAWN], fontsize=7)
    annotate(figure, axes[0], "What latency consists of")
    return save(figure, path)


def draw_tails(results: Results, path: Path) -> Path:
    """How many frames take longer than a time, per tier; both axes are logarithmic."""
    figure, axes = canvas(path, len(results.tiers), size=(8.0, 2.4 * len(results.tiers) + 1.2))
    for axis, tier in zip(axes, results.tiers, strict=True):
        for number, name in enumerate(_TAILS):
            values = results.latencies[tier, name]
            longer = 1 - np.arange(len(values)) / len(values)
            axis.step(values, longer, where="post", color=style_of(number).colour, linewidth=1.3, label=name)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylabel(f"{tier}: longer")
    axes[-1].set_xlabel("latency of a frame, ms")
    annotate(figure, axes[0], "Share of frames that take longer")
    return save(figure, path)


def draw_work(results: Results, tier: str, path: Path) -> Path:
    """Time of an endpoint against the work that it does, by who answered (the paper's Fig. 6)."""
    figure, axes = canvas(path, 2, size=(8.0, 5.6))
    workload = results.options.workload
    for axis, which, curve in ((axes[0], "edge", workload.edge), (axes[1], "cloud_path", workload.server)):
        number = 0
        for one in ENTRANTS:
            if one.kind not in ("baseline", "FluxShard"):
                continue
            found = getattr(results.methods[tier, one.name], which)
            if found.share > 0:
                style = style_of(number)
                axis.plot(
                    [100 * found.work], [found.compute_ms], linestyle="", color=style.colour, marker=style.marker,
                    label=one.name,
                )  # fmt: skip
                number += 1
        axis.axhline(curve((1.0,)), color=QUIET, linestyle="--", linewidth=0.9)
        axis.set_ylim(0, 1.1 * curve((1.0,)))
        axis.set_ylabel(f"{'edge' if which == 'edge' else 'server'}: ms")
    axes[-1].set_xlabel("work, % of the dense network's")
    _legend_of_both(axes)
    annotate(figure, axes[0], f"Time against work, by who answered ({tier})", "Dashed: dense. Devices are modelled.")
    return save(figure, path)


def draw_edges(results: Results, tier: str, path: Path) -> Path:
    """Latency and energy over the number of edges that share an uplink (the paper's Fig. 7)."""
    figure, axes = canvas(path, 2, size=(8.0, 6.0))
    names = [name for _, name, edges in results.together if edges == results.options.edges[0] and _ == tier]
    for number, name in enumerate(dict.fromkeys(names)):
        style = style_of(number)
        own = [results.together[tier, name, edges] for edges in results.options.edges]
        for axis, key in zip(axes, ("mean_ms", "energy_j"), strict=True):
            values = [getattr(one, key) for one in own]
            axis.plot(results.options.edges, values, color=style.colour, marker=style.marker, label=name)
    axes[0].set_ylabel("mean latency, ms")
    axes[0].set_yscale("log")
    axes[1].set_ylabel("edge's energy, J")
    axes[1].set_yscale("log")
    axes[1].set_xlabel("edges with one uplink and one server")
    axes[1].set_xticks(results.options.edges)
    annotate(figure, axes[0], f"Several edges ({tier})", "Energy is modelled.")
    return save(figure, path)


def _legend_of_both(axes: list[Any]) -> None:
    """Makes the upper axes' legend name what only the lower ones show."""
    known = set(axes[0].get_legend_handles_labels()[1])
    for handle, label in zip(*axes[1].get_legend_handles_labels(), strict=True):
        if label not in known:
            axes[0].plot([], [], linestyle="", color=handle.get_color(), marker=handle.get_marker(), label=label)


def _short(name: str) -> str:
    return (
        name.replace("FluxShard ", "").replace(", ", ",\n").replace(" as in", "\nas in").replace("Motion", "Motion-\n")
    )
