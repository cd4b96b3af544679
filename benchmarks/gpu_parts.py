"""The parts of a session on a rented GPU, the most telling first, and their rehearsal in the emulator."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

# what newer versions of torch, numpy and Python advise against is no failure here; a layer that has no kernel is one
_WARNINGS = (
    "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning",
    "error::pytest.PytestUnhandledThreadExceptionWarning",
)  # fmt: skip
PYTEST = (
    sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", *(f"-W{warning}" for warning in _WARNINGS),
)  # fmt: skip
SECONDS = "{seconds}"  # in a command: what it may take, less than its limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: a command with a time limit.

    Attributes:
      name: of the part and its log file.
      shows: what it shows, in a few words.
      command: runs in the root of the repository; `SECONDS` in it becomes what it may take.
      limit_s: most seconds it may take.
      tool: an executable that it needs beside Python; empty for none.
      figures: JSON file that the command writes, with `key_figures`; None for none.
      decides: where it fails, only the next part still runs: nothing behind it could tell more.
    """

    name: str
    shows: str
    command: tuple[str, ...]
    limit_s: float
    tool: str = ""
    figures: Path | None = None
    decides: bool = False


def gpu_parts(out: Path) -> tuple[Part, ...]:
    """What a GPU is asked, in order.

    Args:
      out: directory of the results.
    """
    profile = (
        "ncu", "--section", "SpeedOfLight", "--section", "WarpStateStats", "--section", "Occupancy", "--clock-control",
        "none", "--kernel-name", "regex:fs_gemm", "--launch-skip", "60", "--launch-count", "6",
    )  # fmt: skip
    figures, machine = out / "benchmark.json", out / "machine.json"
    benchmark = ("--quick", "--compile-modes", "reduce-overhead", "--budget", SECONDS, "--out", str(figures))
    return (
        _part("machine", "device, driver and versions", _machine("cuda", machine), 15, figures=machine),
        _part(
            "networks", "YOLO11n in float16 is its definition: loads, runs, is captured, in both orders of launches",
            (*PYTEST, "tests/gpu/test_networks.py", "-k", "yolo11n and float16 and not bfloat16"), 60, decides=True,
        ),
        _part(
            "alone", "convolutions against the device's ceilings, and replays of frames",
            (sys.executable, "-m", "benchmarks.gpu_alone", "--out", str(out / "alone.json")), 60,
            figures=out / "alone.json",
        ),
        _part(
            "laws", "every kind of layer, and the laws of reuse",
            (*PYTEST, "-n", "8", "--dist", "worksteal", "--maxfail", "25", "tests/gpu/test_image_test.py",
             "tests/gpu/test_layers.py", "tests/gpu/test_laws.py"), 90,
        ),
        _part("frames", "graphs, CUDA streams, threads, no waiting", (*PYTEST, "tests/gpu/test_frames.py"), 45),
        _part(
            "benchmark", "frames at given work against dense engines",
            (sys.executable, "-m", "benchmarks.gpu", *benchmark), 160, figures=figures,
        ),
        _part(
            "profile", "where six matrix products of YOLO11n spend their time",
            (*profile, sys.executable, "-m", "benchmarks.gpu_alone", "--cases", "yolo11n@640", "--frames", "2"), 45,
            tool="ncu",
        ),
        _part(
            "memcheck", "no access outside of a buffer, in frames that launch every kernel",
            (*PYTEST, "tests/gpu/test_sanitizer.py", "-k", "memcheck-False and (float16 or images)"), 60,
            tool="compute-sanitizer",
        ),
        _part(
            "errors", "what users see when something goes wrong; but for a lost device",
            (*PYTEST, "tests/gpu/test_errors.py", "-k", "not lost_device"), 45,
        ),
    )  # fmt: skip


def rehearsal_parts(out: Path) -> tuple[Part, ...]:
    """The same order without a GPU: the emulator runs the code of tests and benchmarks on small networks.

    Args:
      out: directory of the results.
    """
    emulated, benchmark = "tests/cuda/test_gpu_tests_emulated.py", out / "benchmark.json"
    machine = out / "machine.json"
    alone = (sys.executable, "-m", "benchmarks.gpu_alone", "--device", "emulated", "--out", str(out / "alone.json"))
    return (
        _part("machine", "versions", _machine("emulated", machine), 60, figures=machine),
        _part("networks", "a small network", (*PYTEST, emulated, "-k", "test_networks"), 300, decides=True),
        _part("alone", "the code of the roofline; figures mean nothing", alone, 300, figures=out / "alone.json"),
        _part("laws", "layers and laws, a few", (*PYTEST, emulated, "-k", "test_laws or test_layers"), 600),
        _part("frames", "graphs, without a device", (*PYTEST, emulated, "-k", "test_frames"), 300),
        _part(
            "benchmark", "the code of the benchmark; figures mean nothing",
            (sys.executable, "-m", "benchmarks.gpu", "--device", "emulated", "--no-autotune", "--out", str(benchmark)),
            300,
            figures=benchmark,
        ),
        _part("profile", "needs a GPU", ("ncu", "--version"), 15, tool="ncu"),
        _part("memcheck", "writes stay inside", (*PYTEST, emulated, "-k", "stays_inside"), 300),
        _part("errors", "refusals", (*PYTEST, "tests/cuda/test_gpu_device.py"), 300),
    )  # fmt: skip


def _machine(device: str, figures: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "benchmarks.gpu_report", "--device", device, "--out", str(figures))


def _part(
    name: str, shows: str, command: tuple[str, ...], limit_s: float, *, tool: str = "", figures: Path | None = None,
    decides: bool = False,
) -> Part:  # fmt: skip
    return Part(name=name, shows=shows, command=command, limit_s=limit_s, tool=tool, figures=figures, decides=decides)
