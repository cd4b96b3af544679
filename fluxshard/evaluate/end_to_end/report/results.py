"""Figures of everything that was replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluxshard.evaluate.end_to_end.entrants import (
    ENTRANTS,
    GREEDY,
    JUDGED,
    OPTIMUM,
    PLANNED,
    TOGETHER,
    entrant,
    taking_part,
)
from fluxshard.evaluate.end_to_end.extremes.replayed import ExtremeFigures
from fluxshard.evaluate.end_to_end.figures import (
    AnytimeFigures,
    MethodFigures,
    Stream,
    anytime_figures,
    as_values,
    method_figures,
)
from fluxshard.evaluate.end_to_end.replays import LinkTask, Records, ReplayOptions, edges_name
from fluxshard.evaluate.end_to_end.sensitivity.replayed import SensitivityRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """Mean latency above that of an oracle, on the links for which the oracle was found.

    Attributes:
      entrant: name.
      sent: what goes up.
      tier: of the links.
      mean_ms: of the entrant.
      greedy_ms, optimum_ms: above the oracle that takes the faster endpoint frame by frame, and above the best that any
        dispatcher could do.
    """

    entrant: str
    sent: str
    tier: str
    mean_ms: float
    greedy_ms: float
    optimum_ms: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """All figures.

    Attributes:
      tiers: in order.
      links: replayed, by tier.
      options: of the replays.
      methods: by tier and name of the entrant, without oracles.
      anytime: by tier: answers by a deadline from the results of `PLANNED`.
      together: by tier, name and number of edges.
      regrets: of dispatch.
      latencies: sorted milliseconds by tier and name, for the plot of tails.
      sensitivity: rows of the paper's Table V; empty where nothing was calibrated.
      extremes: methods on a still clip and on a cut; empty where neither was made.
    """

    tiers: tuple[str, ...]
    links: dict[str, int]
    options: ReplayOptions
    methods: dict[tuple[str, str], MethodFigures]
    anytime: dict[str, AnytimeFigures]
    together: dict[tuple[str, str, int], MethodFigures]
    regrets: tuple[Regret, ...]
    latencies: dict[tuple[str, str], Any]
    sensitivity: tuple[SensitivityRow, ...] = ()
    extremes: tuple[ExtremeFigures, ...] = ()

    def as_values(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "links": self.links,
            "methods": [{"tier": tier, "method": name, **as_values(one)} for (tier, name), one in self.methods.items()],
            "anytime": [{"tier": tier, **as_values(one)} for tier, one in self.anytime.items()],
            "edges": [
                {"tier": tier, "method": name, "edges": edges, **as_values(one)}
                for (tier, name, edges), one in self.together.items()
            ],
            "regret": [
                {name: getattr(one, name) for name in ("entrant", "sent", "tier", "mean_ms", "greedy_ms", "optimum_ms")}
                for one in self.regrets
            ],
            "sensitivity": [one.as_values() for one in self.sensitivity],
            "extremes": [one.as_values() for one in self.extremes],
        }


def collect(
    tasks: Sequence[LinkTask], records: Sequence[Records], options: ReplayOptions, deadline_ms: float
) -> Results:
    """Figures of replays.

    Args:
      tasks: links.
      records: of each, see `run_link`.
      options: of the replays.
      deadline_ms: of answers at any time.
    """
    tiers = tuple(dict.fromkeys(task.tier for task in tasks))
    pairs = list(zip(tasks, records, strict=True))

    def streams(tier: str, name: str) -> list[Stream]:
        return [(found[name], task.materials[0]) for task, found in pairs if task.tier == tier]

    shown = [one for one in taking_part(ablated=options.ablated) if one.kind != "oracle"]
    methods = {
        (tier, one.name): method_figures(streams(tier, one.name), one, options) for tier in tiers for one in shown
    }
    together: dict[tuple[str, str, int], MethodFigures] = {}
    for tier in tiers:
        if tier not in options.together_tiers:
            continue
        for name in TOGETHER:
            for edges in options.edges:
                of = [
                    (found[edges_name(name, edges, camera)], task.materials[camera % len(task.materials)])
                    for task, found in pairs
                    if task.tier == tier
                    for camera in range(edges)
                ]
                together[tier, name, edges] = method_figures(of, entrant(name), options)
    return Results(
        tiers=tiers,
        links={tier: sum(task.tier == tier for task in tasks) for tier in tiers},
        options=options,
        methods=methods,
        anytime={tier: anytime_figures(streams(tier, PLANNED), deadline_ms) for tier in tiers},
        together=together,
        regrets=tuple(_regrets(pairs, tiers, options)),
        latencies={
            (tier, one.name): np.sort(np.concatenate([record.latency_ms for record, _ in streams(tier, one.name)]))
            for tier in tiers
            for one in shown
        },
    )


def _regrets(pairs: Sequence[tuple[LinkTask, Records]], tiers: Sequence[str], options: ReplayOptions) -> list[Regret]:
    """Of all dispatchers of planned reuse; means over all frames of the links that have oracles."""
    found = []
    if options.optimum_links < 1:
        return []
    for sent in JUDGED:
        prefix = f"planned, {sent}: "
        names = [f"FluxShard planned, {sent}", *(one.name for one in ENTRANTS if one.name.startswith(prefix))]
        for tier in tiers:
            taken = [each for task, each in pairs if task.tier == tier and task.number < options.optimum_links]
            means = {
                name: float(np.concatenate([records[name].latency_ms for records in taken]).mean()) for name in names
            }
            greedy, best = means[f"{prefix}{GREEDY}"], means[f"{prefix}{OPTIMUM}"]
            for name in names:
                label = name.removeprefix(prefix) if name.startswith(prefix) else "hedged, warm (ours)"
                found.append(
                    Regret(
                        entrant=label, sent=sent, tier=tier, mean_ms=means[name], greedy_ms=means[name] - greedy,
                        optimum_ms=means[name] - best,
                    )
                )  # fmt: skip
    return found
