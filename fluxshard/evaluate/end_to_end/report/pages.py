"""The report as Markdown, as one self-contained HTML file, and all figures as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluxshard.evaluate.end_to_end.entrants import ANYTIME, H264, JUDGED, OFFLOAD, PLANNED
from fluxshard.evaluate.end_to_end.extremes.replayed import LOST_FRAMES
from fluxshard.evaluate.end_to_end.report.document import Document, Section
from fluxshard.evaluate.end_to_end.report.goals import goals_table
from fluxshard.evaluate.end_to_end.report.plots import (
    draw_edges,
    draw_latency_and_energy,
    draw_parts,
    draw_tails,
    draw_work,
)
from fluxshard.evaluate.end_to_end.report.results import Results
from fluxshard.evaluate.end_to_end.report.tables import (
    ablation_table,
    content_table,
    edges_table,
    extremes_table,
    latency_table,
    memory_table,
    methods_table,
    parts_table,
    ratio_table,
    regret_table,
    sensitivity_table,
)
from fluxshard.evaluate.report.report import Figure

FIGURES = "figures"


def write_pages(results: Results, out: Path, description: Mapping[str, Any]) -> Path:
    """Writes report.md, report.html, results.json and figures.

    Args:
      results: figures of everything that was replayed.
      out: directory.
      description: how it was made, see `evaluation`.

    Returns:
      path of the HTML file.
    """
    figures = _figures(results, out / FIGURES)
    sections = _sections(results, description)
    title = f"End to end, replayed: {description['weights']} at {description['size']}"
    subtitle = ", ".join(f"{tier}: {count} links" for tier, count in results.links.items())
    subtitle += f"; {results.options.seconds:g} s each; clips: {', '.join(description['clips'])}"
    notes = _notes(results, description)
    body = {"description": description, "options": _options(results), **results.as_values()}
    document = Document(title=title, subtitle=subtitle, notes=tuple(notes), sections=tuple(sections), figures=figures)
    return document.write(out, body)


def _notes(results: Results, description: Mapping[str, Any]) -> list[str]:
    """What holds for every table."""
    options, workload = results.options, results.options.workload
    network, clips = f"{description['weights']} at {description['size']}", f"{len(description['clips'])} clips"
    on_edge, on_server = (f"{one.base_ms:g} + {one.slope_ms:g} c ms" for one in (workload.edge, workload.server))
    energy = workload.energy
    return [
        f"Work, bytes and accuracy are measured, with {network} on {clips}; the paper has {workload.network} on "
        f"{workload.data}. Latency and energy are modelled. For a share c of the dense network's work, the edge takes "
        f"{on_edge} (Jetson Xavier NX, Tables I and IV) and the server {on_server} "
        "(RTX 3080, dense as in Table I; the base is assumed). "
        f"{options.pre_ms:g} ms pass before a frame is placed, {options.one_way_ms:g} ms either way on the link. "
        f"The edge takes {energy.wait_w:.2f} W while a frame is under way and {energy.busy_w:.2f} W more while it "
        "computes (fitted to Table I, section V-B and Fig. 7). "
        "Encoding and decoding of pictures take no time here.",
        "Frames come 30 times a second, one is in flight, the newest is next. Time is simulated with the runtime's own "
        "dispatch, estimate of the uplink and hedging; there are no sockets, so no TCP settings and no queue but the "
        "frames' own. Links have one rate a second; low, medium and high are the paper's tiers, which are downlinks; "
        "uplink is what a camera would see.",
        "Every method sees the same H.264 pictures. Accuracy of an answer is that of the method on that frame where it "
        "ran on every frame of the clip: caches are older in a replay, which is in work and bytes but not in accuracy. "
        "Loss is relative to the dense network on the same frames. Numbers in brackets are the paper's.",
    ]


def _sections(results: Results, description: Mapping[str, Any]) -> list[Section]:
    workload = results.options.workload
    tiers, made = results.tiers, [Section(title="Goals", tables=(goals_table(results),))]
    anytime = [
        f"{tier}: {one.age:.1f} frames" for tier, one in results.anytime.items()
    ]  # fmt: skip
    made.append(
        Section(
            title="Latency, energy and accuracy (Fig. 4, Table II)",
            notes=(
                f"* {ANYTIME}: every captured frame is answered by the deadline with the newest result of '{PLANNED}', "
                f"moved along the motion; the moved answer is scored. Mean age of that result: {', '.join(anytime)}.",
            ),
            tables=tuple(latency_table(results, tier) for tier in tiers),
        )
    )
    made.append(
        Section(
            title="What latency consists of (Figs. 5 and 6)",
            notes=("Means in ms. The last six columns split by who answered: latency, the endpoint's own time, work.",),
            tables=tuple(parts_table(results, tier) for tier in tiers),
        )
    )
    made.append(
        Section(
            title="Ratios (Table III)",
            notes=(
                "Tx: bytes that went up over those of the answered frames' raw images. Spare bytes went up for frames "
                "that the edge answered; spare energy is the edge's for frames that the cloud answered first.",
            ),
            tables=tuple(ratio_table(results, tier) for tier in tiers),
        )
    )
    made.append(
        Section(
            title="Ablations (Table IV)",
            notes=("Propagated reuse with Algorithm 1 and raw pixels. The paper's numbers are of the medium tier.",),
            tables=tuple(ablation_table(results, tier) for tier in tiers),
        )
    )
    if results.sensitivity:
        made.append(_sensitivity(results, description["calibrated_on"]))
    if results.extremes:
        made.append(_extremes(results))
    together = [tier for tier in tiers if tier in results.options.together_tiers]
    if together:
        made.append(
            Section(
                title="Several edges (Fig. 7)",
                notes=(
                    "Edges share one uplink, frame by frame in the order of sending, and a server that runs one frame "
                    "at a time. Each has another clip and captures at another moment.",
                ),
                tables=tuple(edges_table(results, tier) for tier in together),
            )
        )
    if results.regrets:
        made.append(
            Section(
                title="Regret of dispatch",
                notes=(
                    "Mean ms / above an oracle that knows each upload's time and takes the faster endpoint / above the "
                    "best that any dispatcher could do.",
                ),
                tables=tuple(regret_table(results, sent) for sent in JUDGED),
            )
        )
    if description["memory"]:
        made.append(
            Section(
                title="Memory",
                notes=(
                    "Caches: what a method keeps from frame to frame to reuse. Peak: most resident memory of a process "
                    "of its own that runs frames on the CPU, without what compiling and the first frame take. The "
                    f"paper's caches add 72 to 136 MB on a GPU, with {workload.network}.",
                ),
                tables=(memory_table(description),),
            )
        )
    made.append(
        Section(
            title="What was recorded",
            notes=(
                "Methods on whole clips, every frame one after the other; then what frames take, for caches of one "
                "frame, in the part of the clips that is replayed.",
            ),
            tables=(methods_table(description), content_table(description)),
        )
    )
    command = description["command"] or "from Python"
    made.append(
        Section(
            title="How it was made",
            notes=(
                f"Command: {command}",
                f"fluxshard {description['fluxshard']}, torch {description['torch']}, Python {description['python']}, "
                f"{description['machine']}. Latencies are simulated, so they do not depend on the machine.",
                "Settings: " + ", ".join(f"{name}={value:g}" for name, value in description["settings"].items()),
            ),
        )
    )
    return made


def _sensitivity(results: Results, on: Mapping[str, Any]) -> Section:
    """Budgets of calibration."""
    return Section(
        title="Budgets of calibration and how they are shared (Table V)",
        notes=(
            "alpha: accuracy that may be lost; r: share of it for the threshold of pixels, which propagated reuse "
            f"alone has. Calibrated on the first {on['max_frames']} frames of {', '.join(on['clips'])}, replayed on "
            "the other clips: the left loss is the one that the search bounds (with its standard error, where there "
            "are several clips), the right one is what it comes to.",
        ),
        tables=(sensitivity_table(results.sensitivity),),
    )


def _extremes(results: Results) -> Section:
    """A still clip and a cut."""
    clips = {one.clip.clip.name: one.clip for one in results.extremes}
    return Section(
        title="A picture that stands still, and a cut (section V-G)",
        notes=(
            f"still: the first picture of {clips['still'].made_of[0]}, again and again. cut: from "
            f"{' to '.join(clips['cut'].made_of)}; the encoder is not told, and makes no keyframe there. Accuracy "
            "is against the dense network.",
            "The last columns: from when the new scene is captured until the first answer that is computed of it, in "
            "the mean and at most; the work of that frame; what goes up for the first frame of the new scene; and the "
            f"loss of its first {LOST_FRAMES} frames, where the method ran on every one.",
        ),
        tables=tuple(extremes_table([one for one in results.extremes if one.clip is clip]) for clip in clips.values()),
    )


def _figures(results: Results, folder: Path) -> tuple[Figure, ...]:
    drawn = [
        Figure(picture=draw_latency_and_energy(results, folder / "latency.png"), title="Latency and energy (Fig. 4)"),
        Figure(picture=draw_parts(results, folder / "parts.png"), title="What latency consists of (Fig. 5)"),
        Figure(
            picture=draw_tails(results, folder / "tails.png"), title="Tails",
            caption=f"'{OFFLOAD}' and '{H264}' wait for the link, whatever it does.",
        ),
    ]  # fmt: skip
    for tier in results.tiers:
        if tier in results.options.together_tiers:
            drawn.append(
                Figure(
                    picture=draw_work(results, tier, folder / f"work_{tier}.png"), title=f"Time against work, {tier}"
                )
            )
            drawn.append(
                Figure(picture=draw_edges(results, tier, folder / f"edges_{tier}.png"), title=f"Several edges, {tier}")
            )
    return tuple(drawn)


def _options(results: Results) -> dict[str, Any]:
    options = results.options
    workload = options.workload
    return {
        "workload": workload.name, "seconds": options.seconds, "pre_ms": options.pre_ms,
        "one_way_ms": options.one_way_ms, "advance_ms": options.advance_ms, "similarity": options.similarity,
        "edge_ms": [workload.edge.base_ms, workload.edge.slope_ms],
        "server_ms": [workload.server.base_ms, workload.server.slope_ms],
        "energy_w": [workload.energy.wait_w, workload.energy.busy_w], "edges": list(options.edges),
    }  # fmt: skip
