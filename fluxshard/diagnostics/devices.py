"""Processors, GPU and energy meters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fluxshard.codegen.cuda.device.driver import device_of
from fluxshard.diagnostics.check import Check
from fluxshard.errors import FluxShardError

LOOKS_US = 50  # LOOKS_NS in templates/cpp/pool.h


def check_threads(root: Path) -> Iterator[Check]:
    """Threads of torch and of generated code against processors, and how torch's wait.

    Args:
      root: where sys/ is.
    """
    usable = len(os.sched_getaffinity(0))
    quota = _cpu_quota(root)
    cpus = _processors(root)
    threads = _torch_threads()
    seen = f"{threads} on {usable} processors" + ("" if quota is None else f", of which a quota allows {quota:g}")
    if threads > cpus:
        advice = f"they wait for one another; set OMP_NUM_THREADS={max(1, int(cpus))}"
        yield Check(name="threads", status="warn", seen=seen, advice=advice)
    else:
        yield Check(name="threads", status="ok", seen=seen)
    policy = os.environ.get("OMP_WAIT_POLICY")
    seen = f"OMP_WAIT_POLICY={policy or ''}"
    if policy is None or policy.lower() != "passive":
        advice = (
            "threads that wait keep a processor busy, which decoders and other streams need; set it to passive before "
            "torch is imported"
        )
        yield Check(name="waiting threads", status="warn", seen=seen, advice=advice)
    else:
        seen += " (this command sets it where it is not set; a program of your own has to)"
        yield Check(name="waiting threads", status="ok", seen=seen)


def check_generated_code(root: Path) -> Check:
    """How many threads generated C++ takes, how they wait, and how that is changed. They are its own, not OpenMP's.

    Args:
      root: where sys/ is.
    """
    threads, cpus = _torch_threads(), _processors(root)
    seen = f"{threads} threads of its own; one without work looks for some for {LOOKS_US} us, then sleeps"
    advice = "torch.set_num_threads(N), or OMP_NUM_THREADS=N before torch is imported, changes how many"
    return Check(
        name="generated code", status="warn" if threads > cpus else "ok", seen=seen,
        advice=f"there are fewer processors, so they take turns: {advice}" if threads > cpus else advice,
    )  # fmt: skip


def check_gpu(root: Path) -> Check:
    """The first GPU, its driver, and whether torch can use it.

    Args:
      root: where proc/ is.
    """
    try:
        gpu = device_of(0)
    except FluxShardError as error:
        return Check(name="cuda device", status="missing", seen=str(error))
    seen = (
        f"{gpu.name}, sm_{gpu.capability[0]}{gpu.capability[1]}, {gpu.memory_bytes / 2**30:.0f} GiB, "
        f"driver {_driver_release(root)}for CUDA {gpu.driver_version[0]}.{gpu.driver_version[1]}"
    )
    try:
        import torch

        if torch.cuda.is_available():
            return Check(name="cuda device", status="ok", seen=seen)
    except (ImportError, OSError):
        pass  # said by another check
    return Check(
        name="cuda device",
        status="warn",
        seen=f"{seen}; torch does not see it",
        advice="install a build of torch for a CUDA version that the driver has (https://pytorch.org)",
    )


def check_energy(root: Path) -> Check:
    """Whether the processor's energy counters (RAPL) can be read.

    Args:
      root: where sys/ is.
    """
    name = "energy meter"
    zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*/energy_uj"))
    if not zones:
        seen = "the system has no RAPL counters; energy is a model's, not a meter's"
        return Check(name=name, status="missing", seen=seen)
    readable = []
    for zone in zones:
        try:
            int(zone.read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        readable.append(zone.parent.name)
    if len(readable) < len(zones):
        return Check(
            name=name,
            status="warn",
            seen=f"{len(zones) - len(readable)} of {len(zones)} RAPL counters cannot be read",
            advice="they are root's since CVE-2020-8694; run as root, or chmod a+r /sys/class/powercap/*/energy_uj "
            "where no other user could spy on what they tell",
        )
    return Check(name=name, status="ok", seen=", ".join(readable))


def _processors(root: Path) -> float:
    """Processors that this process may use at once."""
    usable, quota = len(os.sched_getaffinity(0)), _cpu_quota(root)
    return usable if quota is None else min(usable, quota)


def _cpu_quota(root: Path) -> float | None:
    """Processors' time that the control group allows, in processors; None for no limit."""
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _torch_threads() -> int:
    try:
        import torch

        return torch.get_num_threads()
    except (ImportError, OSError):
        return len(os.sched_getaffinity(0))


def _driver_release(root: Path) -> str:
    """The driver's own version with a space after it, where the system tells."""
    try:
        text = (root / "proc/driver/nvidia/version").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return f"{found[0]} " if found else ""
