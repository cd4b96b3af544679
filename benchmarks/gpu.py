"""FluxShard on a GPU against dense engines, at given shares of work, in one process and under ten minutes.

    python -m benchmarks.gpu --out runs/gpu.json            # all of it
    python -m benchmarks.gpu --out runs/gpu.json --quick    # two cases, few rounds, no long compilations
    python -m benchmarks.gpu --device emulated              # the same code without a GPU: figures mean nothing

Prints Markdown tables and writes JSON, and with matplotlib a picture beside it. Results are compared with the network's
definition before anything is timed. Every round measures all contenders, one after the other; ratios are medians over
rounds of the ratio within a round, to the dense engine with the smallest median.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_dense, gpu_frames, gpu_report, gpu_roofline
from benchmarks.gpu_cases import Built, Case, Place, build, can_autotune, case_of, place_of
from benchmarks.gpu_clock import Deadline
from fluxshard.files import write_whole

CASES = ("yolo11m@1024", "yolo11n@640", "yolo11m@640", "yolo11n@1024")  # the goals are for the first
QUICK = ("yolo11m@1024", "yolo11n@640")
EMULATED = ("tiny@128",)
_RESERVE_S = 60.0  # what measuring the remaining cases takes, without anything that compiles for long


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured.

    Attributes:
      cases: "yolo11m@1024".
      rounds: of measuring frames.
      repeats: launches of a kernel alone, replays of a graph.
      modes: of `torch.compile`, the first that there is time for.
      autotune: also with tuned tiles, where this version has them.
      budget_s: seconds in all.
    """

    cases: tuple[str, ...]
    rounds: int
    repeats: int
    modes: tuple[str, ...]
    autotune: bool
    budget_s: float


def settings_of(args: argparse.Namespace) -> Settings:
    """What the command line asks for."""
    emulated = args.device == "emulated"
    cases = tuple(args.cases or (EMULATED if emulated else QUICK if args.quick else CASES))
    return Settings(
        cases=cases,
        rounds=args.rounds or (2 if emulated else 20 if args.quick else 100),
        repeats=2 if emulated else 20 if args.quick else 50,
        modes=() if emulated else tuple(args.compile_modes.split(",")) if args.compile_modes else
        ("reduce-overhead",) if args.quick else ("max-autotune", "reduce-overhead"),
        autotune=can_autotune() and not args.no_autotune and not args.quick,
        budget_s=args.budget,
    )  # fmt: skip


def dense_contenders(case: Case, place: Place, modes: Sequence[str], deadline: Deadline) -> list[gpu_dense.Contender]:
    """Every dense engine that there is, or why there is not."""
    dtype = torch.float16
    module = gpu_dense.PlanModule(case.plan, case.weights, dtype).to(place.torch_device)
    image = case.image.to(dtype).to(memory_format=torch.channels_last)
    made = [gpu_dense.attempt("torch eager", partial(gpu_dense.eager, module, image))]
    if not place.on_gpu:
        reason = "not available: needs a GPU"
        return [*made, *(gpu_dense.Contender(name, reason=reason) for name in ("torch CUDA graph", "torch.compile"))]
    made.append(gpu_dense.attempt("torch CUDA graph", partial(gpu_dense.graphed, module, image)))
    made.append(gpu_dense.attempt("ONNX Runtime CUDA", partial(gpu_dense.onnxruntime, module, image)))
    made.append(gpu_dense.attempt("TensorRT", partial(gpu_dense.tensorrt, module, image)))
    for mode in modes:
        name = f"torch.compile {mode}"
        allowed = (deadline.left_s - _RESERVE_S) / 2  # so that one that takes too long does not leave the rest without
        reason, seconds = gpu_dense.compile_ahead(case.name, case.size, mode, allowed)
        if reason:
            made.append(gpu_dense.Contender(name, reason=reason, build_s=seconds))
            continue
        contender = gpu_dense.attempt(name, partial(gpu_dense.compiled, module, image, mode))
        contender.notes["compile_s"] = seconds
        made.append(contender)
        if contender.run is not None:
            break
    made[0].notes["islands"] = {name: str(kind).removeprefix("torch.") for name, kind in module.islands.items()}
    return made


def measure_case(
    case: Case, place: Place, settings: Settings, deadline: Deadline, limits: gpu_roofline.Ceilings,
    longest_tuning_s: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All figures of one network at one size.

    Args:
      case, place, settings, deadline: what is measured where, how, and until when.
      limits: of the device.
      longest_tuning_s: that an earlier case took; None for the first, whose kernels are also measured alone.
    """
    roofline, longest_tuning_s = longest_tuning_s is None, longest_tuning_s or 0.0
    cold = build(case, place)
    again = build(case, place)  # from the cache
    variants: dict[str, Built] = {"": again}
    details: dict[str, Any] = {"compile_cold_s": cold.seconds, "compile_cached_s": again.seconds}
    if settings.autotune and deadline.left_s > _RESERVE_S + 2 * longest_tuning_s:
        tuned = build(case, place, autotune=True)
        details |= {"autotune_s": tuned.seconds, "autotuned_cached_s": build(case, place, autotune=True).seconds}
        variants[", autotuned"] = tuned
    elif settings.autotune:
        details["autotune_skipped"] = "no time left"
    changed = gpu_frames.CHANGED if place.on_gpu else (0.25,)
    streams = {suffix: gpu_frames.Streams(case, built, place, changed) for suffix, built in variants.items()}
    dense = dense_contenders(case, place, settings.modes, deadline)
    found = gpu_frames.measure(case, streams, dense, place, settings.rounds)
    first = streams[""]
    details |= {
        "launches": first.launches(), "state_bytes": first.given.state_bytes, "stream_bytes": first.stream_bytes,
        "replays": {suffix: stream.measure_replays(settings.repeats) for suffix, stream in streams.items()},
        "device_kernels": gpu_frames.profiled_kernels(partial(first.run_given, 0.1)) if place.on_gpu else None,
        "dense": {c.name: {"build_s": c.build_s, **c.notes} for c in dense},
    }  # fmt: skip
    found.details = details
    result = asdict(found) | {"wrong": found.wrong}
    if roofline:
        result["roofline"] = {
            suffix: gpu_roofline.summary(gpu_roofline.kernels(case, built, place, limits, settings.repeats), limits)
            | {"case": case.label + suffix}
            for suffix, built in variants.items()
        }
    return result


def goals(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether the first case's frames with given work take as long as they may."""
    rows = [row for row in cases[0]["rows"] if row["compute_ratio"] is not None and "changed" not in row["contender"]]
    return {
        "case": cases[0]["case"],
        "rule": f"ratio <= min({gpu_frames.SLOPE} compute_ratio + {gpu_frames.OFFSET}, {gpu_frames.CEILING})",
        "met": all(row["met"] for row in rows),
        "missed": [row["contender"] for row in rows if not row["met"]],
        "never_slower": all(row["ratio"] <= gpu_frames.CEILING for case in cases for row in case["rows"]
                            if row["compute_ratio"] is not None),
    }  # fmt: skip


def key_figures(cases: Sequence[dict[str, Any]]) -> list[str]:
    """The figures that matter most, a line each."""
    lines = []
    for case in cases:
        times = {row["contender"]: row["median_ms"] for row in case["rows"]}
        ratios = [(row["contender"].removeprefix("FluxShard "), row["ratio"]) for row in case["rows"]]
        shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios if name != case["fastest"])
        lines.append(f"{case['case']}: {case['fastest']} {times[case['fastest']]:.3f} ms; ratios to it: {shown}")
    return lines


def run(device: str, settings: Settings, out: Path | None) -> dict[str, Any]:
    """Measures everything, prints it and writes it; what is written grows case by case."""
    deadline = Deadline(settings.budget_s)
    place = place_of(device)
    torch.backends.cudnn.benchmark = True
    limits = gpu_roofline.ceilings(place) if place.on_gpu else gpu_roofline.ceilings(place, 256, 1 << 20)
    report: dict[str, Any] = {"environment": gpu_report.environment(device), "settings": asdict(settings), "cases": []}
    print(json.dumps(report["environment"], indent=1))
    tuning_s: float | None = None
    for index, label in enumerate(settings.cases):
        if index and deadline.left_s < _RESERVE_S / 2 and place.on_gpu:
            report.setdefault("skipped", []).append(label)
            continue
        name, size = label.split("@")
        case = case_of(name, int(size), place)
        found = measure_case(case, place, settings, deadline, limits, tuning_s)
        tuning_s = max(tuning_s or 0.0, found["details"].get("autotune_s", 0.0))
        report["cases"].append(found)
        print(gpu_report.table(found))
        for kernels in found.get("roofline", {}).values():
            print(gpu_report.roofline_table(kernels))
        report["goals"] = goals(report["cases"])
        report["curve"] = gpu_report.curve(report["cases"])
        report["seconds"] = settings.budget_s - deadline.left_s
        report["key_figures"] = key_figures(report["cases"])
        if out:
            write_whole(out, json.dumps(report, indent=1).encode())
    if out:
        report["picture"] = gpu_report.draw_curve(report["curve"], out.with_suffix(".png"))
        write_whole(out, json.dumps(report, indent=1).encode())
    print(json.dumps({key: report.get(key) for key in ("goals", "skipped", "seconds")}, indent=1))
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; 1 where a result is not the network's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None, help="JSON file; a picture goes beside it")
    parser.add_argument("--quick", action="store_true", help="two cases, few rounds, no long compilations")
    parser.add_argument("--device", choices=["cuda", "emulated"], default="cuda")
    parser.add_argument("--cases", nargs="+", default=None, metavar="NAME@SIZE")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument(
        "--compile-modes", default="", help="of torch.compile, with commas; the first that works counts"
    )
    parser.add_argument("--no-autotune", action="store_true")
    parser.add_argument("--budget", type=float, default=560.0, help="seconds in all")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU: use --device emulated to try the script")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    # an empty cache, so that the first compilation is one; the emulator's is kept: its compiler takes minutes
    with tempfile.TemporaryDirectory() as directory, torch.no_grad():
        if args.device == "cuda":
            os.environ["FLUXSHARD_CACHE_DIR"] = directory
        report = run(args.device, settings_of(args), args.out)
    wrong = {case["case"]: case["wrong"] for case in report["cases"] if case["wrong"]}
    if wrong:
        print(f"results are not the network's: {wrong}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
