"""The table of a run's figures that is printed at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

_SCORES = {
    "same": ("pixels of the same class as dense", "{:.2%}"),
    "miou": ("mean IoU of classes with dense", "{:.4f}"),
    "top1": ("same class as dense", "{:.2%}"),
    "top5": ("of dense's five likeliest classes", "{:.2%}"),
    "probability_error": ("largest error of a probability", "{:.4f}"),
    "relative_error": ("error over dense's spread", "{:.4f}"),
    "depth_error": ("relative error of depths", "{:.2%}"),
    "delta1": ("depths within a factor of 1.25", "{:.2%}"),
}


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Lays a summary out for people, figures that nobody measured left out."""
    table = Table(show_header=False, title="FluxShard", title_style="bold", pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    frames = f"{summary['frames']}"
    if summary["keyframes_counted"]:
        frames += f", {summary['keyframes_counted']} of them run whole"
    if summary["frames"]:
        frames += " (the first is left out of the figures)"
    table.add_row("frames", frames)
    if summary.get("policy") is not None:
        table.add_row("reuse", summary["policy"] + (f", canvas +{px} px" if (px := summary["canvas_px"]) else ""))
    latency = summary["latency_ms"]
    if summary["throughput_fps"] is not None:
        table.add_row("throughput", f"{summary['throughput_fps']:.1f} frames/s, all that is done for them included")
    table.add_row("incremental", _milliseconds(latency["incremental"]))
    if latency["dense"] is not None:
        table.add_row("dense (torch, same frames)", _milliseconds(latency["dense"]))
        if summary["speedup"] is not None:
            table.add_row("dense / incremental", f"{summary['speedup']:.2f}x (medians)")
    overhead = latency["overhead"]
    measured = overhead is not None and overhead["max"] > 0
    table.add_row("engine overhead", _milliseconds(overhead) if measured else "not measured by this backend")
    table.add_row("detections from outputs", _milliseconds(latency["decode"]))
    if latency["focus"] is not None and latency["focus"]["max"] > 0:
        table.add_row("objects for the next frame", _milliseconds(latency["focus"]))
    table.add_row("video and its motion", _milliseconds(latency["source"]))
    table.add_row("compute ratio", _percent(summary["compute_ratio"]))
    table.add_row("recompute ratio (pixels)", _percent(summary["recompute_ratio"]))
    if summary.get("carried_counted"):
        text = f"{summary['carried_counted']} of {summary['frames_counted']} frames have an earlier result, moved"
        age = summary.get("carried_frames")
        table.add_row("moved results", text + ("" if age is None else f": over {age['mean']:.1f} frames, mean"))
    for name, text in _placement_rows(summary):
        table.add_row(name, text)
    for name, text in _agreement_rows(summary["agreement"]):
        table.add_row(name, text)
    for name, distribution in (summary.get("scores") or {}).items():
        if distribution is not None:
            label, show = _SCORES.get(name, (name, "{:.4f}"))
            text = f"mean {show.format(distribution['mean'])}, median {show.format(distribution['median'])}"
            table.add_row(label, text)
    if summary.get("state_bytes") is not None:
        table.add_row("cache of the stream", f"{summary['state_bytes'] / 2**20:.1f} MiB")
    sources = ", ".join(f"{name} {count}" for name, count in summary["motion_sources"].items())
    table.add_row("motion from", sources or "-")
    for name, text in _source_rows(summary):
        table.add_row(name, text)
    table.add_row("files", str(summary.get("out", "-")))
    return table


def _source_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What became of the source, where there is something to tell."""
    rows: list[tuple[str, str]] = []
    live = summary.get("live")
    if live is not None:
        text = f"{live['connections']} connections" if live["connections"] != 1 else "1 connection"
        if live["gaps"]:
            text += f", {live['gaps']} gaps of {live['gap_s']:.1f} s in all, the longest {live['longest_gap_s']:.1f} s"
        if live["dropped"]:
            text += f"; {live['dropped']} frames dropped for newer ones"
        rows.append(("source", text))
    if summary.get("damaged"):
        rows.append(("damaged frames left out", str(summary["damaged"])))
    return rows


def _placement_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    placement = summary.get("placement")
    if placement is None:
        return []
    answered = f"{placement['cloud']} by the server, {placement['edge']} here"
    if placement["unanswered"]:
        answered += f", {placement['unanswered']} not at all"
    for name, key in (("both were started for", "hedged"), ("the server was kept warm by", "refreshed")):
        if placement[key]:
            answered += f"; {name} {placement[key]}"
    rows = [("answered", answered)]
    medians = [(name, placement[f"{name}_latency_ms"]) for name in ("edge", "cloud")]
    rows.append(("latency by endpoint", ", ".join(f"{n} {v:.1f} ms" for n, v in medians if v is not None)))
    sent = f"{placement['bytes_per_frame'] / 1e3:.1f} kB a frame, {placement['bytes_sent'] / 1e6:.1f} MB in all"
    rows.append(("sent", sent))
    if placement["server_compute_ratio"] is not None:
        rows.append(("compute ratio of the server", f"mean {placement['server_compute_ratio']:.1%}"))
    other = {name: n for name, n in placement["cloud_outcomes"].items() if name != "answered"}
    if other:
        rows.append(("not answered by the server", ", ".join(f"{name} {n}" for name, n in other.items())))
    if placement["cloud_closed"]:
        rows.append(("not sent because", ", ".join(f"{why} ({n})" for why, n in placement["cloud_closed"].items())))
    dropped = summary.get("offload", {}).get("frames_dropped")
    if dropped:
        rows.append(("dropped for newer frames", str(dropped)))
    if summary["latency_ms"].get("age") is not None:
        rows.append(("age of a frame at its answer", _milliseconds(summary["latency_ms"]["age"])))
    return rows


def _agreement_rows(agreement: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if agreement is None:
        return []
    rows: list[tuple[str, str]] = []

    def add(key: str, name: str, show: Callable[[float], str]) -> None:
        if agreement.get(key) is not None:
            rows.append((name, show(agreement[key])))

    counts = f" ({agreement.get('matched')} matched, {agreement.get('missed')} missed, {agreement.get('extra')} extra)"
    add("f1", "agreement with dense: F1", lambda value: f"{value:.4f}{counts}")
    add("box_iou", "mean box IoU", lambda value: f"{value:.4f}")
    add("mask_iou", "mean mask IoU", lambda value: f"{value:.4f}")
    add("keypoint_px", "mean keypoint distance", lambda value: f"{value:.2f} px of the network's input")
    add("oks", "mean OKS", lambda value: f"{value:.4f}")
    add("max_difference", "largest raw difference", lambda value: f"{value:.4g}")
    return rows


def _milliseconds(distribution: Mapping[str, float] | None) -> str:
    if distribution is None:
        return "-"
    return f"median {distribution['median']:.2f} ms, p95 {distribution['p95']:.2f} ms"


def _percent(distribution: Mapping[str, float] | None) -> str:
    if distribution is None:
        return "-"
    return f"mean {distribution['mean']:.1%}, median {distribution['median']:.1%}"
