"""What a kernel needs of a multiprocessor, as ptxas reports it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENTRY = re.compile(r"Compiling entry function '([^']+)'")
_PROPERTIES = re.compile(r"Function properties for (\S+)")
_NUMBERS = {
    "registers": re.compile(r"(\d+) registers"),
    "barriers": re.compile(r"(\d+) barriers"),
    "stack_bytes": re.compile(r"(\d+) bytes (?:stack frame|cumulative stack size)"),
    "spill_store_bytes": re.compile(r"(\d+) bytes spill stores"),
    "spill_load_bytes": re.compile(r"(\d+) bytes spill loads"),
    "shared_bytes": re.compile(r"(\d+) bytes smem"),
}
_CONSTANT = re.compile(r"(\d+) bytes cmem\[\d+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Resources of one kernel. What a version of ptxas does not report is 0; no kernel needs 0 registers.

    Attributes:
      registers: per thread.
      shared_bytes: static shared memory per block.
      spill_store_bytes, spill_load_bytes: per thread, of registers that did not suffice.
      stack_bytes: per thread, with what it calls.
      constant_bytes: arguments and literals; not reported from sm_90 on.
      barriers: named barriers per block.
    """

    registers: int = 0
    shared_bytes: int = 0
    spill_store_bytes: int = 0
    spill_load_bytes: int = 0
    stack_bytes: int = 0
    constant_bytes: int = 0
    barriers: int = 0

    @property
    def spills(self) -> bool:
        """Registers did not suffice."""
        return self.spill_store_bytes > 0 or self.spill_load_bytes > 0


def parse_ptxas(log: str) -> dict[str, Resources]:
    """Kernel name -> resources, from what `--ptxas-options=-v` prints in any version from 11 to 13.

    A kernel is announced by its name; all numbers up to the next announcement are its own, except those of functions
    that it calls.
    """
    found: dict[str, dict[str, int]] = {}
    kernel: dict[str, int] | None = None  # whose numbers the next lines have
    entry = ""
    for line in log.splitlines():
        if announced := _ENTRY.search(line):
            entry = announced.group(1)
            kernel = found.setdefault(entry, {})
        elif properties := _PROPERTIES.search(line):
            kernel = found.get(properties.group(1))
        elif kernel is not None:
            for field, pattern in _NUMBERS.items():
                if number := pattern.search(line):
                    kernel[field] = max(int(number.group(1)), kernel.get(field, 0))
            if banks := _CONSTANT.findall(line):
                kernel["constant_bytes"] = sum(map(int, banks))
    return {name: Resources(**numbers) for name, numbers in found.items()}
