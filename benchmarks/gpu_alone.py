"""Parts alone: each convolution against what the device can do, replays of whole frames, and the image test.

    python -m benchmarks.gpu_alone --out runs/alone.json
    python -m benchmarks.gpu_alone --cases yolo11n@640 --frames 3    # frames only, for a profiler

No dense engine is built, so it takes seconds. The JSON file is written anew after each network.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_frames, gpu_image_test, gpu_report, gpu_roofline
from benchmarks.gpu import EMULATED, QUICK
from benchmarks.gpu_cases import Case, Place, build, case_of, place_of
from fluxshard.files import write_whole


def measure(case: Case, place: Place, limits: gpu_roofline.Ceilings, repeats: int) -> dict[str, Any]:
    """Figures of one network.

    Args:
      case: the network.
      place: where it runs.
      limits: of the device.
      repeats: launches of a kernel, replays of a graph.
    """
    cold, built = build(case, place), build(case, place)
    streams = gpu_frames.Streams(case, built, place, (0.25,))
    return {
        "case": case.label, "compile_s": cold.seconds, "launches": streams.launches(),
        "replays": streams.measure_replays(repeats),
        "roofline": gpu_roofline.summary(gpu_roofline.kernels(case, built, place, limits, repeats), limits),
        "image_test": gpu_image_test.measure(case, built, place, repeats),
    }  # fmt: skip


def key_figures(found: dict[str, Any]) -> list[str]:
    """The figures that matter most, a line each."""
    roofline, launches = found["roofline"], found["launches"]["given"]["kernels"]
    lines = [
        f"{found['case']}: convolutions alone {roofline['total_ms']:.3f} ms, {roofline['of_ceiling']:.0%} of the "
        f"ceiling; kernels compiled in {found['compile_s']:.1f} s; {launches} kernels in a planned frame"
    ]
    times = {name: f"{figures['device_ms']:.3f}" for name, figures in found["replays"].items()}
    if times:
        lines.append(f"{found['case']}: replays, ms: " + ", ".join(f"{name}: {ms}" for name, ms in times.items()))
    return [*lines, gpu_image_test.key_figure(found["case"], found["image_test"])]


def run_frames(case: Case, place: Place, n: int) -> None:
    """Planned frames at 25% of the work, kernel by kernel: what a profiler looks at."""
    built = build(case, place)
    built.engine._device.captures = False
    streams = gpu_frames.Streams(case, built, place, ())
    for _ in range(n):
        streams.run_given(0.25)
    place.clock.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the key figures and writes JSON; 1 where the image test decides otherwise than it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "emulated"], default="cuda")
    parser.add_argument("--cases", nargs="+", default=None, metavar="NAME@SIZE")
    parser.add_argument("--repeats", type=int, default=None)
    parser.add_argument("--frames", type=int, default=0, help="run so many frames and measure nothing")
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    args = parser.parse_args(arguments)
    place = place_of(args.device)
    with torch.no_grad():
        cases = args.cases or (QUICK if place.on_gpu else EMULATED)
        if args.frames:
            for label in cases:
                name, size = label.split("@")
                run_frames(case_of(name, int(size), place), place, args.frames)
            return 0
        limits = gpu_roofline.ceilings(place) if place.on_gpu else gpu_roofline.ceilings(place, 256, 1 << 20)
        report: dict[str, Any] = {"environment": gpu_report.environment(args.device), "key_figures": [], "cases": []}
        for label in cases:
            name, size = label.split("@")
            found = measure(case_of(name, int(size), place), place, limits, args.repeats or (20 if place.on_gpu else 2))
            report["cases"].append(found)
            report["key_figures"] += key_figures(found)
            print(gpu_report.roofline_table(found["roofline"] | {"case": found["case"]}))
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                write_whole(args.out, json.dumps(report, indent=1).encode())
    print("\n".join(report["key_figures"]))
    return 0 if all(found["image_test"]["alike"] for found in report["cases"]) else 1


if __name__ == "__main__":
    sys.exit(main())
