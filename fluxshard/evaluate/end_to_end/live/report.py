"""The report of runs over links. Only energy in it is modelled, and nothing of a replay is in its tables."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fluxshard.evaluate.data.clips import ENCODED_FPS
from fluxshard.evaluate.end_to_end.live.answers import PARTS
from fluxshard.evaluate.end_to_end.live.figures import Measured, counts_busy
from fluxshard.evaluate.end_to_end.live.options import LiveOptions
from fluxshard.evaluate.end_to_end.live.sharing import SHARING_NOTES, Group, draw_growth, growth_table
from fluxshard.evaluate.end_to_end.report.document import Document, Section
from fluxshard.evaluate.end_to_end.workload import EnergyModel
from fluxshard.evaluate.report.plot_style import COLOURS, annotate, canvas, save, style_of
from fluxshard.evaluate.report.report import Figure
from fluxshard.evaluate.report.text_table import Cell, Table, number, percent, words

PART_NAMES = {
    "before_ms": "edge, before", "link_ms": "link", "server_wait_ms": "server's queue, decoding",
    "network_ms": "network", "after_ms": "after",
}  # fmt: skip


def write_report(
    measured: Sequence[Measured],
    shared: Sequence[Measured],
    options: LiveOptions,
    energy: EnergyModel,
    out: Path,
    description: Mapping[str, Any],
) -> Path:
    """Writes report.md, report.html, results.json and figures.

    Args:
      measured: all runs of one edge, by tier, slowdown and method.
      shared: runs in which edges share a link, by tier, number of edges and method.
      options: of the runs.
      energy: of the edge.
      out: directory.
      description: how it was made: "command", "weights", "size", "clips", "measure", "settings", "versions", "machine".

    Returns:
      path of the HTML file.
    """
    groups = _groups(measured)
    sections = [
        Section(title=f"{tier}, edge {_slower(slowdown)}", tables=_tables(group))
        for (tier, slowdown), group in groups.items()
    ]
    together = _groups(shared)
    sections += [
        Section(
            title=f"Several edges with one uplink and one server: {tier}, edges {_slower(slowdown)}",
            notes=SHARING_NOTES,
            tables=(growth_table(group, _link(group)), *_tables(group)),
        )
        for (tier, slowdown), group in together.items()
    ]
    sections.append(_made(description))
    drawn = [one for slowdown in options.slowdowns for one in _drawn(groups, slowdown, out / "figures")]
    drawn += [
        (draw_growth(group, tier, out / "figures" / f"edges_{tier}.png"), f"Several edges, {tier}")
        for (tier, _), group in together.items()
    ]
    figures = tuple(Figure(picture=picture, title=title) for picture, title in drawn)
    title = f"End to end, over an emulated link: {description['weights']} at {description['size']}"
    subtitle = f"clips: {', '.join(description['clips'])}; accuracy: {description['measure']}"
    values = {
        "description": description,
        "runs": [_values(one) for one in measured],
        "edges": [{"edges": one.run.edges, **_values(one)} for one in shared],
    }
    document = Document(
        title=title,
        subtitle=subtitle,
        notes=_notes(measured, options, energy),
        sections=tuple(sections),
        figures=figures,
    )
    return document.write(out, values)


def _values(one: Measured) -> dict[str, object]:
    run = one.run
    return {
        "tier": run.tier, "slowdown": run.slowdown, "method": run.method.name, "facts": run.facts,
        **one.figures.as_values(),
    }  # fmt: skip


def _groups(measured: Sequence[Measured]) -> dict[tuple[str, float], list[Measured]]:
    found: dict[tuple[str, float], list[Measured]] = {}
    for one in measured:
        found.setdefault((one.run.tier, one.run.slowdown), []).append(one)
    return found


def _slower(slowdown: float) -> str:
    return "as fast as this machine" if slowdown == 1 else f"{slowdown:g}x slower"


def _notes(measured: Sequence[Measured], options: LiveOptions, energy: EnergyModel) -> tuple[str, ...]:
    loads = [float(one.run.facts["load"]) for one in measured]
    edge, server = measured[0].run.facts["cpus"]
    return (
        "All but energy is measured. A server process and an edge process are at the two ends of an emulated link, "
        "with mutual TLS. The edge sleeps after each of the network's steps and image tests until a machine that is "
        "slower by the factor would be done; decoding and encoding of pictures are not slowed.",
        f"The edge has {_processors(edge)}, the server {_processors(server)}. Both are on a machine that "
        f"others may use: its load was {np.median(loads):.1f} in the median, {max(loads):.1f} at most (processes that "
        "want to run, in the mean of a minute, at the end of each run; the last column of the first tables).",
        f"A clip's pictures come {ENCODED_FPS:g} times a second, forwards and backwards in turns; one frame is under "
        "way, the newest is next, the others are missed. The camera's H.264 is encoded beside the edge's network; all "
        "methods see what is decoded from it. Latency is from taking a frame until its detections are there. "
        f"Streams are warm before frames are counted ({options.warm_s:g} s), for whole multiples of {options.seconds} "
        "s, after which the link's rates repeat: every method sees every second of a link equally often.",
        "Accuracy is of the answers that were given, each on its own frame; loss is relative to the dense network on "
        "the same frames. 'edge only' ran once, without a server, and is the same in all tiers.",
        *_energy_notes(measured, energy),
    )


def _energy_notes(measured: Sequence[Measured], energy: EnergyModel) -> list[str]:
    """What energy is, and what the edge's busy time is of."""
    notes = [
        f"The edge's energy is modelled, with the powers of the paper's edge: {energy.wait_w:.2f} W while a frame is "
        f"under way, and {energy.busy_w:.2f} W more while the edge is busy. Both times are measured; busy are the "
        "edge's network and its image tests, slowed, without encoding and decoding of pictures.",
        *_meter_notes(measured),
    ]
    derived = [one.run.label for one in measured if not counts_busy(one.run)]
    if derived:
        of = "all methods" if len(derived) == len(measured) else ", ".join(dict.fromkeys(derived))
        notes.append(
            f"Where runs have not counted the edge's busy time ({of}), it is from the parts of latency: the network "
            "where the edge answered, and with image tests on the edge all that came before the link, its encoding too."
        )
    return notes


def _meter_notes(measured: Sequence[Measured]) -> list[str]:
    known = [one.run.facts for one in measured if "meter" in one.run.facts]
    meters = list(dict.fromkeys(facts["meter"] for facts in known if facts["meter"] is not None))
    if meters:
        return [
            f"Metered energy is of the whole machine that both ends are on, at its own speed, by {', '.join(meters)}: "
            "it is no edge's."
        ]
    reasons = dict.fromkeys(reason for facts in known for reason in facts["no_meter"])
    return [f"Energy was not metered: {'; '.join(reasons) or 'runs did not look for a meter'}."]


def _processors(cpus: Sequence[int]) -> str:
    return f"{len(cpus)} processor{'s' if len(cpus) > 1 else ''}"


def _tables(group: Group) -> tuple[Table, ...]:
    notes = _link(group)
    return (_latency_table(group, notes), _parts_table(group, notes), _ratio_table(group, notes))


def _link(group: Group) -> tuple[str, ...]:
    """Rate, delay, queue and TCP settings of a group, for the head of every table."""
    linked = [one.run.facts for one in group if one.run.facts["link"] is not None]
    if not linked:
        return ("no link: the edge alone",)
    facts = linked[0]
    rates, tcp = facts["mbps"], facts["tcp"]
    control = facts["congestion_control"] or tcp["congestion_control"] or "unknown"
    kind = "packets between network namespaces" if facts["link"] == "packets" else (
        "a SHAPER in user space: TCP sees neither round trips nor losses, so large payloads are too fast"
    )  # fmt: skip
    window = facts["initcwnd"] or tcp["route_initcwnd"] or "the kernel's"
    idle = {True: "on", False: "off", None: "unknown"}[tcp["slow_start_after_idle"]]
    delay = facts["one_way_ms"]
    return (
        f"link: {kind}; {len(rates)} s of {facts['trace']}: {np.mean(rates):.1f} Mbit/s up in the mean, "
        f"{min(rates):.1f} to {max(rates):.1f}; {delay:g} ms each way; queue {facts['queue_bytes'] / 1e3:.0f} kB",
        f"TCP: {control}, initcwnd {window}, slow start after idle {idle}, send buffer "
        f"{_buffer(tcp['send_bytes'])}, receive buffer {_buffer(tcp['receive_bytes'])}",
    )


def _buffer(sizes: Sequence[int] | None) -> str:
    return "unknown" if sizes is None else f"{sizes[1] // 1024} to {sizes[2] // 1024} KiB"


def _table(notes: tuple[str, ...], headings: tuple[str, ...], rows: Sequence[tuple[Cell, ...]]) -> Table:
    return Table(notes=notes, headings=headings, numeric=(False, *(True for _ in headings[1:])), rows=tuple(rows))


def _latency_table(group: Group, notes: tuple[str, ...]) -> Table:
    rows = []
    for one in group:
        own = one.figures
        times = (own.mean_ms, own.p50_ms, own.p95_ms, own.p99_ms, own.p999_ms, own.max_ms)
        rows.append(
            (
                words(one.run.label), number(own.frames, 0), *(number(ms, 0) for ms in times),
                percent(own.loss), number(own.accuracy, 3), number(own.age_ms, 0), number(own.fps, 1),
                percent(own.missed), number(own.unanswered, 0), number(one.run.facts["load"], 1),
            )
        )  # fmt: skip
    headings = (
        "latency", "frames", "mean ms", "p50", "p95", "p99", "p99.9", "max", "loss", "accuracy", "age ms", "fps",
        "missed", "no answer", "load",
    )  # fmt: skip
    return _table(notes, headings, rows)


def _parts_table(group: Group, notes: tuple[str, ...]) -> Table:
    rows = [
        (
            words(one.run.label), number(one.figures.mean_ms, 0),
            *(number(one.figures.parts_ms[part], 1) for part in PARTS),
            number(one.figures.edge_ms, 0), number(one.figures.cloud_ms, 0), number(one.figures.busy_ms, 1),
            number(one.figures.energy_j, 2), number(one.figures.metered_j, 2),
        )
        for one in group
    ]  # fmt: skip
    headings = (
        "parts", "mean ms", *(PART_NAMES[part] for part in PARTS), "by edge: ms", "by server: ms", "edge busy: ms",
        "edge J, modelled", "machine J, metered",
    )  # fmt: skip
    return _table(notes, headings, rows)


def _ratio_table(group: Group, notes: tuple[str, ...]) -> Table:
    rows = []
    for one in group:
        own = one.figures
        rows.append(
            (
                words(one.run.label), percent(own.tx), number(own.kb, 1), percent(own.compute),
                percent(own.cloud), percent(own.hedged), percent(own.refreshed), percent(own.wasted),
                number(own.edge_mib, 0), number(own.server_mib, 0),
            )
        )  # fmt: skip
    headings = (
        "ratios", "Tx", "kB/frame", "Comp", "Cloud", "hedged", "refreshed", "wasted bytes", "edge's peak MiB",
        "server's peak MiB",
    )  # fmt: skip
    return _table(notes, headings, rows)


def _made(description: Mapping[str, Any]) -> Section:
    return Section(
        title="How it was made",
        notes=(
            f"Command: {description['command'] or 'from Python'}",
            f"{description['versions']}, {description['machine']}.",
            "Settings: " + ", ".join(f"{name}={value:g}" for name, value in description["settings"].items()),
        ),
    )


def _drawn(groups: Mapping[tuple[str, float], Group], slowdown: float, folder: Path) -> list[tuple[Path, str]]:
    tiers = {tier: group for (tier, factor), group in groups.items() if factor == slowdown}
    title = f"edge {_slower(slowdown)}"
    return [
        (_draw_parts(tiers, title, folder / f"parts_{slowdown:g}x.png"), f"What latency consists of, {title}"),
        (_draw_tails(tiers, title, folder / f"tails_{slowdown:g}x.png"), f"Tails, {title}"),
    ]


def _draw_parts(tiers: Mapping[str, Group], title: str, path: Path) -> Path:
    """Means of the parts as bars, with the 95% quantile as a mark; without methods that answer when time is over."""
    tiers = {tier: [one for one in group if one.run.method.within_ms is None] for tier, group in tiers.items()}
    names = [one.run.method.name for one in next(iter(tiers.values()))]
    figure, axes = canvas(path, len(tiers), size=(9.0, 2.2 * len(tiers) + 1.8))
    for axis, (tier, group) in zip(axes, tiers.items(), strict=True):
        bottom = np.zeros(len(group))
        for index, part in enumerate(PARTS):
            values = np.array([one.figures.parts_ms[part] for one in group])
            axis.bar(range(len(group)), values, bottom=bottom, color=COLOURS[index], label=PART_NAMES[part])
            bottom += values
        p95 = [one.figures.p95_ms for one in group]
        axis.plot(range(len(group)), p95, linestyle="", marker="_", markersize=14, color="black", label="95% quantile")
        axis.set_ylabel(f"{tier}: ms")
    axes[-1].set_xticks(range(len(names)), [textwrap.fill(name, 12) for name in names], fontsize=6.5)
    annotate(figure, axes[0], f"What latency consists of, {title}", "Measured, over an emulated link.")
    return save(figure, path)


def _draw_tails(tiers: Mapping[str, Group], title: str, path: Path) -> Path:
    """How many frames take longer than a time; both axes are logarithmic."""
    figure, axes = canvas(path, len(tiers), size=(8.0, 2.4 * len(tiers) + 2.0))
    for axis, (tier, group) in zip(axes, tiers.items(), strict=True):
        for index, one in enumerate(group):
            columns = [answers.columns for answers in one.run.answers]
            values = np.sort(np.concatenate([each["latency_ms"][each["answered"] > 0] for each in columns]))
            longer, style = 1 - np.arange(len(values)) / len(values), style_of(index)
            axis.step(
                values, longer, where="post", color=style.colour, linestyle=style.line, linewidth=1.3,
                label=one.run.method.name,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylabel(f"{tier}: longer")
    axes[-1].set_xlabel("latency of a frame, ms")
    annotate(figure, axes[0], f"Share of frames that take longer, {title}", "Measured, over an emulated link.")
    return save(figure, path)
