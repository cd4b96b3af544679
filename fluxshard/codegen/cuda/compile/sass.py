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

from fluxshard.codegen.cuda.launches.kernels import FewTile, GemmTile

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


def product_loops(lines: Sequence[str]) -> tuple[Loop, ...]:
    """The innermost loops that multiply, the one that does most first."""
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
    found = [(start, end) for start, end in loops if kind in names[start:end]]
    innermost = [
        (start, end) for start, end in found
        if not any((a, b) != (start, end) and start <= a and b <= end for a, b in found)
    ]  # fmt: skip
    made = [Loop(end - start, names[start:end].count(kind), tuple(names[start:end])) for start, end in innermost]
    return tuple(sorted(made, key=lambda loop: -loop.products))


def per_depth(loops: Sequence[Loop], tile: GemmTile | FewTile, bk: int, depth_of_product: int = 16) -> float | None:
    """Instructions per warp and 32 of the depth in a tile's loop; None where no loop is that of the tile.

    Args:
      loops: of the kernel.
      tile: of tensor cores.
      bk: depth of a step.
      depth_of_product: of one instruction.
    """
    fragments = tile.bm // 16 // tile.wm * (tile.bn // 8 // tile.wn)
    for loop in loops:
        if loop.products == fragments * -(-bk // depth_of_product):
            return loop.instructions * 32 / bk
    return None
