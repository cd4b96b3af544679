"""Most memory that a process had resident, as the kernel counts it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

PROCESSES = Path("/proc")


def peak_mib(process: int | str = "self", root: Path = PROCESSES) -> float:
    """Since the process began, or since the last `forget_peak`, in MiB; NaN where the kernel does not tell.

    Not the system call that tells of resources: its figure outlives the start of another program, and so may be that of
    the process that started this one.

    Args:
      process: its id; "self" for this one.
      root: of the kernel's files.
    """
    with suppress(OSError, ValueError, IndexError):
        for line in (root / str(process) / "status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return float("nan")


def forget_peak(process: int, root: Path = PROCESSES) -> None:
    """Begins a new peak, where the kernel does that."""
    with suppress(OSError):
        (root / str(process) / "clear_refs").write_text("5", encoding="ascii")
