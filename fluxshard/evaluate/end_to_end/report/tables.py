"""Tables of the evaluation; the paper's number stands beside ours wherever it gives one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fluxshard.evaluate.end_to_end.common_figures import loss_of
from fluxshard.evaluate.end_to_end.content.method_memory import TORCH
from fluxshard.evaluate.end_to_end.entrants import ANYTIME, ENTRANTS, TOGETHER, Entrant, taking_part
from fluxshard.evaluate.end_to_end.extremes.replayed import ExtremeFigures
from fluxshard.evaluate.end_to_end.figures import MethodFigures
from fluxshard.evaluate.end_to_end.paper import GROWTH, NONE, PaperFigures, paper_figures
from fluxshard.evaluate.end_to_end.records import PARTS
from fluxshard.evaluate.end_to_end.replays import CAPTURED_FPS
from fluxshard.evaluate.end_to_end.report.results import Results
from fluxshard.evaluate.end_to_end.sensitivity.replayed import SensitivityRow
from fluxshard.evaluate.report.text_table import NOTHING, Cell, Table, number, percent, words

PART_NAMES = {
    "pre_ms": "preprocessing", "queue_ms": "queue", "upload_ms": "upload", "propagation_ms": "propagation",
    "server_wait_ms": "server's queue", "server_ms": "server", "edge_ms": "edge",
}  # fmt: skip


def _rows(results: Results, tier: str, *, ablations: bool = False) -> list[tuple[Entrant, MethodFigures, PaperFigures]]:
    workload = results.options.workload.name
    return [
        (
            one,
            results.methods[tier, one.name],
            NONE if one.paper is None else paper_figures(workload, tier, one.paper),
        )
        for one in taking_part(ablated=results.options.ablated)
        if (one.kind == "ablation" if ablations else one.kind in ("baseline", "FluxShard"))
    ]


def _table(headings: tuple[str, ...], rows: Sequence[tuple[Cell, ...]]) -> Table:
    return Table(headings=headings, numeric=(False, *(True for _ in headings[1:])), rows=tuple(rows))


def _beside(own: Cell, theirs: str | None) -> Cell:
    """A cell with the paper's number in brackets."""
    return own if theirs is None else Cell(f"{own.text} ({theirs})", own.value)


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f}%"


def latency_table(results: Results, tier: str) -> Table:
    """Latency and energy of a tier (the paper's Fig. 4)."""
    rows: list[tuple[Cell, ...]] = []
    for one, own, paper in _rows(results, tier):
        rows.append(
            (
                words(one.name), _beside(number(own.mean_ms, 1), _ms(paper.latency_ms)), number(own.p95_ms, 0),
                number(own.p99_ms, 0), number(own.p999_ms, 0), number(own.max_ms, 0),
                _beside(number(own.energy_j, 2), _ms(paper.energy_j)),
                _beside(percent(own.loss), _share(paper.loss)), number(own.accuracy, 3), number(own.age_ms, 0),
                number(own.fps, 1),
            )
        )  # fmt: skip
    anytime = results.anytime[tier]
    rows.append(
        (
            words(f"{ANYTIME} *"), *(number(anytime.deadline_ms, 1),), *(Cell(NOTHING) for _ in range(5)),
            percent(anytime.loss), number(anytime.accuracy, 3), Cell(NOTHING), number(CAPTURED_FPS, 1),
        )
    )  # fmt: skip
    return _table((tier, "mean ms", "p95", "p99", "p99.9", "max", "edge J", "loss", "accuracy", "age ms", "fps"), rows)


def parts_table(results: Results, tier: str) -> Table:
    """What mean latency consists of, and by whom frames were answered (the paper's Figs. 5 and 6)."""
    rows = []
    for one, own, _ in _rows(results, tier):
        parts = [number(own.parts_ms[part], 1) for part in PARTS]
        rows.append(
            (
                words(one.name), number(own.mean_ms, 1), *parts,
                *(number(value, 1) for value in (own.edge.latency_ms, own.edge.compute_ms)), percent(own.edge.work),
                *(number(value, 1) for value in (own.cloud_path.latency_ms, own.cloud_path.compute_ms)),
                percent(own.cloud_path.work),
            )
        )  # fmt: skip
    headings = (
        tier, "mean ms", *(PART_NAMES[part] for part in PARTS), "by edge: ms", "its own", "work", "by cloud: ms",
        "its own", "work",
    )  # fmt: skip
    return _table(headings, rows)


def ratio_table(results: Results, tier: str) -> Table:
    """Transmission, computation and cloud ratios (the paper's Table III), and what hedging and refreshes cost."""
    rows = []
    for one, own, paper in _rows(results, tier):
        rows.append(
            (
                words(one.name), _beside(percent(own.tx), _share(paper.tx)), number(own.kb, 1),
                _beside(percent(own.compute), _share(paper.compute)), _beside(percent(own.cloud), _share(paper.cloud)),
                percent(own.repeated), percent(own.hedged, digits=2), percent(own.spare), number(own.spare_j, 3),
            )
        )  # fmt: skip
    return _table((tier, "Tx", "kB/frame", "Comp", "Cloud", "repeated", "hedged", "spare bytes", "spare J/frame"), rows)


def ablation_table(results: Results, tier: str) -> Table:
    """The paper's Table IV: parts of its method left out, one at a time."""
    rows = []
    first = next(row for row in _rows(results, tier) if row[0].role == "propagated")
    for one, own, paper in [first, *_rows(results, tier, ablations=True)]:
        rows.append(
            (
                words(one.name), _beside(percent(own.loss), _share(paper.loss)),
                _beside(percent(own.compute), _share(paper.compute)), percent(own.tx),
                _beside(number(own.mean_ms, 1), _ms(paper.latency_ms)), number(own.p95_ms, 0), number(own.energy_j, 2),
            )
        )  # fmt: skip
    return _table((tier, "loss", "Comp", "Tx", "mean ms", "p95", "edge J"), rows)


def sensitivity_table(rows: Sequence[SensitivityRow]) -> Table:
    """The paper's Table V: budgets of calibration, and how they are shared."""
    made = []
    for one in rows:
        own, paper, how = one.figures, one.paper, one.configuration
        made.append(
            (
                words(how.entrant), percent(how.budget), number(how.split, 2), percent(one.searched_loss),
                percent(one.searched_compute), _beside(percent(own.loss), _share(paper.loss)),
                _beside(percent(own.tx), _share(paper.tx)), _beside(percent(own.compute), _share(paper.compute)),
                _beside(number(own.mean_ms, 1), _ms(paper.latency_ms)), number(own.p95_ms, 0),
                _beside(number(own.energy_j, 2), _ms(paper.energy_j)),
            )
        )  # fmt: skip
    headings = (
        rows[0].tier, "budget (1 - alpha)", "r", "loss, calibrated on", "Comp, calibrated on", "loss", "Tx", "Comp",
        "mean ms", "p95", "edge J",
    )  # fmt: skip
    return _table(headings, made)


def extremes_table(rows: Sequence[ExtremeFigures]) -> Table:
    """Methods on one clip of the ends of motion (section V-G).

    Args:
      rows: of one clip.
    """
    made = []
    for one in rows:
        own, after = one.figures, one.after
        cells = [
            words(one.method), percent(own.loss), percent(own.compute), number(own.kb, 1), number(own.mean_ms, 1),
            number(own.p95_ms, 0), number(own.max_ms, 0),
        ]  # fmt: skip
        if after is not None:
            cells += [
                number(after.answer_ms, 0), number(after.worst_ms, 0), percent(after.work), number(after.kb, 1),
                percent(after.loss),
            ]  # fmt: skip
        made.append(tuple(cells))
    cut = ("cut: ms to an answer", "at most", "its work", "kB at the cut", "loss after it")
    headings = (
        f"{rows[0].clip.clip.name}, {rows[0].tier}", "loss", "Comp", "kB/frame", "mean ms", "p95", "max",
        *(cut if rows[0].after is not None else ()),
    )  # fmt: skip
    return _table(headings, made)


def edges_table(results: Results, tier: str) -> Table:
    """Several edges with one uplink and one server (the paper's Fig. 7)."""
    counts = results.options.edges
    rows = []
    workload = results.options.workload.name
    for name in TOGETHER:
        paper = GROWTH.get((workload, next(one.paper for one in ENTRANTS if one.name == name) or ""), {})
        first = results.together[tier, name, counts[0]]
        cells = [words(name)]
        for edges in counts:
            own = results.together[tier, name, edges]
            cells.append(_beside(number(own.mean_ms, 1), _ms(paper.get(edges))))
        for edges in counts[1:]:
            own = results.together[tier, name, edges]
            cells.append(percent(own.mean_ms / first.mean_ms - 1))
        for edges in counts[1:]:
            own = results.together[tier, name, edges]
            cells.append(percent(own.energy_j / first.energy_j - 1))
        cells.append(number(results.together[tier, name, counts[-1]].p95_ms, 0))
        rows.append(tuple(cells))
    headings = (
        tier, *(f"{edges} edges: ms" if edges > 1 else "1 edge: ms" for edges in counts),
        *(f"latency at {edges}" for edges in counts[1:]), *(f"energy at {edges}" for edges in counts[1:]),
        f"p95 at {counts[-1]}",
    )  # fmt: skip
    return _table(headings, rows)


def regret_table(results: Results, sent: str) -> Table:
    """Mean latency above the two oracles, by tier."""
    rows = []
    for name in dict.fromkeys(one.entrant for one in results.regrets):
        cells = [words(name)]
        for tier in results.tiers:
            one = next(each for each in results.regrets if (each.entrant, each.sent, each.tier) == (name, sent, tier))
            cells.append(Cell(f"{one.mean_ms:.1f} / {one.greedy_ms:+.1f} / {one.optimum_ms:+.1f}", one.mean_ms))
        rows.append(tuple(cells))
    return _table((f"planned, {sent}", *results.tiers), rows)


def memory_table(description: Mapping[str, Any]) -> Table:
    """What methods take of memory, over the dense network in PyTorch."""
    found = description["memory"]
    dense = next(one["peak_mib"] for one in found if one["name"] == TORCH)
    rows = [
        (
            words(one["name"]), number(one["cached_bytes"] / 1e6, 1), number(one["peak_mib"], 0),
            number(one["peak_mib"] - dense, 0),
        )
        for one in found
    ]  # fmt: skip
    return _table(("method", "caches MB", "peak MiB", "over PyTorch MiB"), rows)


def content_table(description: Mapping[str, Any]) -> Table:
    """What was recorded of the clips."""
    rows = [
        (
            words(one["clip"]), number(description["frames"][one["clip"]], 0), percent(one["work"]),
            percent(one["work_4"]), number(one["frame_kb"], 0), number(one["raw_kb"], 0), number(one["packed_kb"], 1),
            number(one["jpeg_kb"], 1), number(one["h264_kb"], 1), number(one["key_kb"], 1), number(one["head_kb"], 1),
            number(one["similarity"], 3),
        )
        for one in description["sent"]
    ]  # fmt: skip
    return _table(
        (
            "clip", "frames", "work", "work at age 4", "raw frame kB", "raw kB", "packed kB", "JPEG kB", "H.264 kB",
            "its keyframe", "head kB", "SSIM",
        ),
        rows,
    )  # fmt: skip


def methods_table(description: Mapping[str, Any]) -> Table:
    """What the methods do to whole clips, every frame one after the other."""
    dense = next(one["accuracy"] for one in description["whole_clips"] if one["role"] == "dense")
    rows = []
    for one in description["whole_clips"]:
        accuracy = one["accuracy"]
        loss = loss_of(accuracy, dense)
        rows.append(
            (words(one["role"]), words(one["method"]), percent(one["compute"]), number(accuracy), percent(loss))
        )
    return Table(
        headings=("method", "settings", "compute", description["measure"], "loss"),
        numeric=(False, False, True, True, True),
        rows=tuple(rows),
    )
