"""Tables, plain values and a picture of replays."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.content.recorded_content import RecordedPayload
from fluxshard.evaluate.offload.measures import Figures, pooled, skill
from fluxshard.evaluate.offload.trials import OPTIMUM, Outcomes
from fluxshard.evaluate.report.plot_style import LINES, annotate, canvas, save, style_of
from fluxshard.evaluate.report.text_table import Cell, Table, number, percent, words

GREEDY = "greedy oracle"
STATICS = ("always edge", "always cloud")
DRAWN = ("always cloud", "paper", "hedged, warm")

Pooled = dict[tuple[str, RecordedPayload, str], Figures]


def pool(outcomes: Outcomes) -> Pooled:
    """Figures of every tier, payload and entrant.

    Raises:
      EvaluationError: nothing was replayed.
    """
    if not outcomes:
        raise EvaluationError("no trials were run: there is nothing to report")
    return {key: pooled(streams) for key, streams in outcomes.items()}


def overview(figures: Pooled, payload: RecordedPayload) -> Table:
    """One payload, tiers side by side: mean, 95% and 99% quantile and maximum of latency."""
    tiers, names = _parts(figures, 0), _parts(figures, 2)
    rows = []
    for name in names:
        cells = [words(name)]
        for tier in tiers:
            one = figures[tier, payload, name]
            tail = f"{one.p95_ms:.0f} / {one.p99_ms:.0f} / {one.max_ms:.0f}"
            cells.append(Cell(f"{one.mean_ms:.1f} / {tail}", one.mean_ms))
        rows.append(tuple(cells))
    return Table(headings=(payload, *tiers), numeric=(False, *(True for _ in tiers)), rows=tuple(rows))


def details(figures: Pooled, tier: str, payload: RecordedPayload) -> Table:
    """All figures of one tier and payload, with regret and skill against the oracles that are there."""
    rows = []
    for name in _parts(figures, 2):
        one, against = figures[tier, payload, name], _against(figures, tier, payload, name)
        regrets = [number(regret_ms, 2, signed=True) for regret_ms, _ in against.values()]
        skills = [number(gained, 2) for _, gained in against.values()]
        sends = one.sent_bytes > 0
        rows.append(
            (
                words(name), number(one.mean_ms, 1), number(one.p50_ms, 1), number(one.p95_ms, 0),
                number(one.p99_ms, 0), number(one.p999_ms, 0), number(one.max_ms, 0), number(one.age_ms, 0),
                number(one.fps, 1), percent(one.by_cloud), percent(one.hedged, digits=2),
                number(one.sent_bytes / 1000 if sends else None, 1), percent(one.spare if sends else None), *regrets,
                *skills,
            )
        )  # fmt: skip
    headings = (
        f"{tier}, {payload}", "mean ms", "p50", "p95", "p99", "p99.9", "max", "age ms", "fps", "by cloud", "hedged",
        "kB/frame", "spare", *(f"regret: {oracle}" for oracle in _oracles(figures)),
        *(f"skill: {oracle}" for oracle in _oracles(figures)),
    )  # fmt: skip
    return Table(headings=headings, numeric=(False, *(True for _ in headings[1:])), rows=tuple(rows))


def against_oracle(figures: Pooled, name: str) -> Table:
    """One entrant, payloads by tiers: its mean less the greedy oracle's, and its maximum."""
    tiers, rows = _parts(figures, 0), []
    for payload in _payloads(figures):
        cells = [words(payload)]
        for tier in tiers:
            one, oracle = figures[tier, payload, name], figures[tier, payload, GREEDY]
            regret = one.mean_ms - oracle.mean_ms
            cells.append(Cell(f"{regret:+.2f} / {one.max_ms:.0f}", regret))
        rows.append(tuple(cells))
    return Table(headings=(name, *tiers), numeric=(False, *(True for _ in tiers)), rows=tuple(rows))


def payload_and_predictor(figures: Pooled) -> Table:
    """What another payload gains in the mean, and the most that a better predictor of the link could.

    Both for Algorithm 1 ("paper"). No predictor is better than one that knows the link, the greedy oracle.
    """
    payloads, rows = _payloads(figures), []
    for tier in _parts(figures, 0):
        means = [figures[tier, payload, "paper"].mean_ms for payload in payloads]
        oracles = [figures[tier, payload, GREEDY].mean_ms for payload in payloads]
        gaps = [mean - oracle for mean, oracle in zip(means, oracles, strict=True)]
        cells = [words(tier), *(number(mean, 1) for mean in means)]
        cells += [number(max(means) - min(means), 1), *(number(gap, 2) for gap in gaps)]
        rows.append(tuple(cells))
    headings = ("tier", *payloads, "payload's gain", *(f"predictor's most, {payload}" for payload in payloads))
    return Table(headings=headings, numeric=(False, *(True for _ in headings[1:])), rows=tuple(rows))


def as_json(figures: Pooled) -> list[dict[str, Any]]:
    """All figures as plain values, one object per tier, payload and entrant.

    `regret_ms` and `skill` hold one value per oracle that is there; a skill is None where nothing could be gained.
    """
    values = []
    for (tier, payload, name), one in figures.items():
        against = _against(figures, tier, payload, name)
        values.append(
            {
                "tier": tier, "payload": payload, "entrant": name, **asdict(one),
                "regret_ms": {oracle: regret_ms for oracle, (regret_ms, _) in against.items()},
                "skill": {oracle: gained for oracle, (_, gained) in against.items()},
            }
        )  # fmt: skip
    return values


def _oracles(figures: Pooled) -> list[str]:
    names = _parts(figures, 2)
    return [oracle for oracle in (GREEDY, OPTIMUM) if oracle in names]


def _against(figures: Pooled, tier: str, payload: RecordedPayload, name: str) -> dict[str, tuple[float, float | None]]:
    """Regret in milliseconds and skill of an entrant, against every oracle that is there."""
    names, mean_ms = _parts(figures, 2), figures[tier, payload, name].mean_ms
    statics_ms = [figures[tier, payload, static].mean_ms for static in STATICS if static in names]
    found = {}
    for oracle in _oracles(figures):
        best_ms = figures[tier, payload, oracle].mean_ms
        found[oracle] = (mean_ms - best_ms, skill(mean_ms, statics_ms, best_ms) if statics_ms else None)
    return found


def draw_tails(outcomes: Outcomes, path: Path) -> Path:
    """Draws how many frames take longer than a time, one below the other per tier; both axes are logarithmic.

    Args:
      outcomes: of trials.
      path: of a PNG or SVG file.

    Raises:
      OptionError: another kind of file.
      EvaluationError: nothing was replayed.
    """
    figures = pool(outcomes)
    tiers, payloads, names = _parts(figures, 0), _payloads(figures), _parts(figures, 2)
    figure, axes = canvas(path, len(tiers), size=(8.0, 2.4 * len(tiers) + 1.2))
    for axis, tier in zip(axes, tiers, strict=True):
        for row, payload in enumerate(payloads):
            for column, name in enumerate(name for name in DRAWN if name in names):
                streams = outcomes[tier, payload, name]
                values = np.sort(np.concatenate([stream.latencies_ms for stream in streams]))
                longer = 1 - np.arange(len(values)) / len(values)
                axis.step(
                    values, longer, where="post", color=style_of(row).colour, linewidth=1.3,
                    linestyle=LINES[::-1][column % len(LINES)], label=f"{payload}, {name}",
                )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylabel(f"{tier}: longer")
    axes[-1].set_xlabel("latency of a frame, ms")
    annotate(figure, axes[0], "Share of frames that take longer")
    return save(figure, path)


def _parts(figures: Pooled, index: int) -> list[str]:
    return list(dict.fromkeys(key[index] for key in figures))


def _payloads(figures: Pooled) -> list[RecordedPayload]:
    return list(dict.fromkeys(payload for _, payload, _ in figures))
