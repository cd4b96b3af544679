"""What a run on a GPU is reported as: where it was, Markdown tables, a picture."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.frame import cpu_name
from fluxshard.codegen.cuda.compile.nvrtc import Nvrtc
from fluxshard.errors import ToolchainError
from fluxshard.files import write_whole

ROOT = Path(__file__).resolve().parents[1]


def environment(device: str) -> dict[str, Any]:
    """The device, versions, the command and the date."""
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "benchmarks.gpu", *(Path(argument).name for argument in sys.argv[1:])]),
        "commit": _output("git", "-C", str(ROOT), "rev-parse", "HEAD") or "unknown",
        "changed_files": len((_output("git", "-C", str(ROOT), "status", "--porcelain") or "").splitlines()),
        "device": device, "cpu": cpu_name(), "python": platform.python_version(), "torch": torch.__version__,
        "cuda": torch.version.cuda, "nvrtc": _nvrtc(), "gpu": None, "driver": None,
    }  # fmt: skip
    if device == "cuda":
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        queried = "driver_version,clocks.sm,clocks.max.sm,power.limit,persistence_mode"
        asked = _output("nvidia-smi", f"--query-gpu={queried}", "--format=csv,noheader")
        found |= {
            "gpu": properties.name, "capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory, "multiprocessors": properties.multi_processor_count,
            "driver": (asked or "unknown").splitlines()[0].split(",")[0], "nvidia_smi": asked,
            "cudnn": torch.backends.cudnn.version(),
        }  # fmt: skip
    return found


def table(found: Mapping[str, Any]) -> str:
    """The frames of one case as Markdown."""
    head = (
        f"### {found['case']}, float16; ratios to {found['fastest']}\n\n"
        "| contender | median ms | host ms | ratio | share | compute ratio | goal | met |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    lines = []
    for row in found["rows"]:
        ours = row["compute_ratio"] is not None
        shares = f"{row['share']:.2f} | {row['compute_ratio']:.3f} | {row['limit']:.2f} | " if ours else " | 1 | | "
        met = ("yes" if row["met"] else "no") if ours else ""
        times = f"{row['median_ms']:.3f} | {row['host_ms']:.3f} | {row['ratio']:.2f}"
        lines.append(f"| {row['contender']} | {times} | {shares}{met} |")
    lines += [f"| {name} | {reason} | | | | | | |" for name, reason in found["unavailable"].items()]
    return head + "\n".join(lines) + "\n"


def roofline_table(found: Mapping[str, Any], most: int = 25) -> str:
    """The kernels that take most of a frame, as Markdown."""
    head = (
        f"### Convolution kernels of {found['case']} alone, all cells: {found['kernels']} kernels, "
        f"{found['total_ms']:.3f} ms in all, {found['of_ceiling']:.0%} of the ceilings "
        f"({found['peak_tflops']:.0f} TFLOP/s, "
        f"{found['peak_gbytes_per_s']:.0f} GB/s)\n\n"
        "| cells | channels | depth | tile | layers | ms | TFLOP/s | GB/s | of ceiling | bound |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = [
        f"| {row['cells']} | {row['channels']} | {row['depth']} | {row['tile']} | {row['layers']} | {row['ms']:.4f} | "
        f"{row['tflops']:.1f} | {row['gbytes_per_s']:.0f} | {row['of_ceiling']:.0%} | {row['bound']} |"
        for row in found["rows"][:most]
    ]
    return head + "\n".join(lines) + "\n"


def curve(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Latency over the share of multiplications that was executed, per case and kind of work."""
    points = []
    for case in cases:
        for row in case["rows"]:
            if row["compute_ratio"] is not None:
                name = row["contender"]
                kind = "planned" if "planned" in name else "found" if "changed" in name else "given"
                points.append(
                    {
                        "case": case["case"], "kind": kind, "autotuned": "autotuned" in row["contender"],
                        "compute_ratio": row["compute_ratio"], "ratio": row["ratio"], "median_ms": row["median_ms"],
                    }
                )  # fmt: skip
    return points


def draw_curve(points: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Draws the curve; returns why not, or an empty string."""
    if importlib.util.find_spec("matplotlib") is None:
        return "not drawn: matplotlib is not installed"
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for key in dict.fromkeys((p["case"], p["kind"], p["autotuned"]) for p in points):
        chosen = sorted(
            (p["compute_ratio"], p["ratio"]) for p in points if (p["case"], p["kind"], p["autotuned"]) == key
        )
        style = "o-" if key[1] == "given" else "x--"
        label = f"{key[0]}, work {key[1]}{', autotuned' if key[2] else ''}"
        axes.plot(*zip(*chosen, strict=True), style, label=label, markersize=4)
    axes.plot([0, 1], [0.08, 1.18], color="0.6", linewidth=1, label="goal: 1.1 work + 0.08")
    axes.axhline(1, color="0.8", linewidth=1)
    axes.set_xlabel("share of multiplications executed")
    axes.set_ylabel("latency over the fastest dense engine's")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints and writes where this is."""
    parser = argparse.ArgumentParser(description="device, driver and versions")
    parser.add_argument("--device", choices=["cuda", "emulated"], default="cuda")
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    args = parser.parse_args(arguments)
    found = environment(args.device)
    shown = {"driver": found["driver"], "torch": found["torch"], "with": found["nvrtc"], "commit": found["commit"][:9]}
    line = ", ".join([found["gpu"] or "no GPU", *(f"{name} {value}" for name, value in shown.items())])
    print(json.dumps(found, indent=1))
    if args.out:
        write_whole(args.out, json.dumps({"key_figures": [line], "environment": found}, indent=1).encode())
    return 0


def _nvrtc() -> str | None:
    try:
        return Nvrtc().identity
    except ToolchainError:
        return None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
