"""Machine code of a kernel, read by NVIDIA's disassembler where it is installed: how long the loop of its sums is.

What a multiprocessor issues per product decides the time of matrix products that wait for nothing, and can be counted
without a GPU.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LABEL = re.compile(r"^(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+\{?\s*(?:@!?\w+\s+)?([A-Z][\w.]*)\s*(.*?);")
_TARGET = re.compile(r"`\((\.L_x_\d+)\)")
TOOL_ADVICE = "pip install nvidia-cuda-nvdisasm, or put the nvdisasm of a CUDA toolkit on PATH"


@dataclass(frozen=True, slots=True)
class Loop:
    """The loop of a kernel's sums, over one or several steps of the depth.

    Attributes:
      instructions: of all kinds, per warp and turn.
      products: of them, those that multiply and add: HMMA, or FFMA where there is none.
      names: of each instruction, without its modifiers.
    """

    instructions: int
    products: int
    names: tuple[str, ...]


def find_nvdisasm() -> str | None:
    """The disassembler: on PATH, or beside the Python packages of this process; None where there is none."""
    found = shutil.which("nvdisasm", path=f"{os.environ.get('PATH', '')}:/usr/local/cuda/bin")
    if found:
        return found
    for root in sys.path:
        for path in sorted(Path(root or ".").glob("nvidia/c*/bin/nvdisasm")):
            if path.is_file():
                if not os.access(path, os.X_OK):  # some installers drop the permission
                    continue
                return str(path)
    return None


def disassemble(cubin: Path, tool: str) -> list[str]:
    """Lines of a CUBIN's machine code.

    Args:
      cubin: the file.
      tool: nvdisasm.

    Raises:
      OSError, subprocess.SubprocessError: it cannot be run, or refuses the file.
    """
    done = subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def main_loop(lines: Sequence[str]) -> Loop | None:
    """The innermost loop that multiplies most; None where no loop does."""
    names: list[str] = []
    at: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for line in lines:
        if label := _LABEL.match(line):
            at[label.group(1)] = len(names)
        elif instruction := _INSTRUCTION.match(line):
            name = instruction.group(1).split(".")[0]
            if name == "BRA" and (target := _TARGET.search(instruction.group(2))):
                jumps.append((len(names), target.group(1)))
            names.append(name)
    loops = [(at[label], end + 1) for end, label in jumps if label in at and at[label] <= end]
    kind = "HMMA" if "HMMA" in names else "FFMA"

    def count(loop: tuple[int, int]) -> int:
        return sum(name == kind for name in names[loop[0] : loop[1]])

    found = [loop for loop in loops if count(loop)]
    innermost = [
        loop for loop in found
        if not any(one != loop and one[0] >= loop[0] and one[1] <= loop[1] for one in found)
    ]  # fmt: skip
    if not innermost:
        return None
    start, end = max(innermost, key=count)
    return Loop(end - start, count((start, end)), tuple(names[start:end]))
