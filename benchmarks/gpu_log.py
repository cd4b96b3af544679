"""What the log of a part says: which tests failed, what a profiler has seen, why a tool could not work."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_FAILURES = 6
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
_COUNTS = re.compile(rf"^=*\s*{_COUNT.pattern}.* in [\d.]+s")
_REFUSED = re.compile(r"ERR_NVGPUCTRPERM|No kernels were profiled")
_PROFILED = (
    ("us", r"Duration +us +([\d.]+)"), ("% of SM", r"Compute \(SM\) Throughput +% +([\d.]+)"),
    ("% of memory", r"Memory Throughput +% +([\d.]+)"), ("% occupancy", r"Achieved Occupancy +% +([\d.]+)"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """What a log says.

    Attributes:
      last: its last line; the counts of pytest where it ran tests.
      tests: it ran tests, or began to.
      idle: why nothing was tested or profiled although the command succeeded; empty where something was.
      figures: lines for the summary: tests that failed, what was profiled.
    """

    last: str
    tests: bool
    idle: str
    figures: tuple[str, ...]


def read_log(text: str) -> Reading:
    """Reads a log of pytest, of a profiler or of anything else, also one that ends in the middle."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    counts = next((line for line in reversed(lines) if _COUNTS.match(line)), "")
    idle = next((line for line in lines if _REFUSED.search(line)), "")
    if counts and not any(kind != "skipped" for _, kind in _COUNT.findall(counts)):
        idle = next((line for line in lines if line.startswith("SKIPPED")), counts)
    failures = [line for line in lines if line.startswith(("FAILED ", "ERROR tests/"))]
    if len(failures) > MOST_FAILURES:
        failures = [*failures[:MOST_FAILURES], f"... and {len(failures) - MOST_FAILURES} more failures in the log"]
    last = counts or (lines[-1] if lines else "it printed nothing")
    return Reading(last, bool(counts), idle, (*failures, *_profiled(text)))


def _profiled(text: str) -> tuple[str, ...]:
    """The range of what Nsight Compute has seen of its kernels, in one line."""
    found = {unit: [float(value) for value in re.findall(pattern, text)] for unit, pattern in _PROFILED}
    seen = [f"{min(values):g} to {max(values):g} {unit}" for unit, values in found.items() if values]
    return (f"profiled kernels ({max(map(len, found.values()))}): " + ", ".join(seen),) if seen else ()
