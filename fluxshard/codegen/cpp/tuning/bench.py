"""Times convolutions in this process: a generated program that has all tiles, and memory for one layer at a time."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.shared_library import load_library, zeroed
from fluxshard.codegen.common.templates import render_template
from fluxshard.codegen.cpp.program_cache import get_or_build, key_of
from fluxshard.codegen.cpp.tiles import Tile
from fluxshard.codegen.cpp.tuning.problem import Axis, Problem, tiles_of
from fluxshard.ir.kernel import Target

_ROUNDS = 7  # of all tiles in turn; the fastest counts: whatever else runs makes a call slower, never faster
_COLD_BYTES = 2 << 20  # per thread: the second-level cache of what code is generated for, or more
_LONGEST_ROW = 1 << 14
_BLOCK = 8  # cells of a side of what is computed together


class _Segment(ctypes.Structure):
    _fields_ = [("pool", ctypes.c_void_p), ("map", ctypes.c_void_p)] + [
        (name, ctypes.c_int32) for name in ("stride", "channels", "uy", "ux", "width")
    ]


class _Axis(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("n_in", "n_out", "taps", "step")] + [
        ("tap", ctypes.c_void_p), ("crosses", ctypes.c_void_p)
    ]  # fmt: skip


class _Args(ctypes.Structure):
    """Mirror of TuneArgs in templates/cpp/tune.cpp.jinja."""

    _fields_ = [
        ("segments", ctypes.POINTER(_Segment)), ("y", _Axis), ("x", _Axis),
        *((name, ctypes.c_int32) for name in ("n_segments", "outputs", "joined", "threads", "n", "out_stride")),
        *((name, ctypes.c_void_p) for name in ("list", "rows", "out", "weights", "cold")),
        ("cold_bytes", ctypes.c_uint64), ("seen", ctypes.c_uint64),
    ]  # fmt: skip


def bench_text(target: Target) -> str:
    """Source of the program that times tiles on a target."""
    return render_template("cpp/tune.cpp.jinja", t=target, tiles=tiles_of(target), longest_row=_LONGEST_ROW)


def identity_of(target: Target, threads: int) -> str:
    """What measured times depend on: the processor, the threads, and the kernels with their compiler."""
    kernels = key_of(bench_text(target), target)
    return f"{processor_facts()}; {threads} threads; {target.instructions}, {target.dtype}; kernels {kernels}"


def processor_facts(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What tells this kind of processor from others: its names, and the instructions that it has.

    Args:
      cpuinfo: where the system says so; where it does not, the platform's name has to do.
    """
    kept = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "CPU implementer", "CPU part",
            "CPU variant", "Features")  # fmt: skip
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        first = []
    found = {key.strip(): " ".join(value.split()) for key, _, value in (line.partition(":") for line in first)}
    facts = [f"{key} {found[key]}" for key in kept if key in found]
    return ", ".join(facts) or f"{platform.machine()} {platform.processor()}".strip()


@dataclass(frozen=True, slots=True)
class _Memory:
    """Arguments of a call, and the arrays that they point to."""

    args: _Args
    kept: list[NDArray[np.generic]]


class TileBench:
    """See `tune.Bench`.

    Args:
      target: with a compiler, or what a compiler made of the program in the cache.
      threads: that a frame runs on.
      cache_dir: instead of `FLUXSHARD_CACHE_DIR`.

    Raises:
      CompileError, MissingKernelError, ToolchainError: see `program_cache.get_or_build`.
    """

    def __init__(self, target: Target, threads: int, cache_dir: Path | None = None) -> None:
        self._target = target
        self._threads = threads
        self._numbers = {tile: index for index, tile in enumerate(tiles_of(target))}
        self._library = load_library(get_or_build("tune", bench_text(target), target, cache_dir), "tune", _Args)
        self._library.tune_time.restype = ctypes.c_int64
        self._library.tune_time.argtypes = [ctypes.POINTER(_Args), ctypes.c_int]
        self._cold = zeroed(_COLD_BYTES * threads)

    def measure(self, problem: Problem, tiles: Sequence[Tile], shares: Sequence[float]) -> list[list[float]]:
        """See `Bench.measure`; nanoseconds."""
        times: list[list[float]] = [[] for _ in tiles]
        for share in shares:
            memory = self._memory(problem, share)
            best = [float("inf")] * len(tiles)
            for _ in range(_ROUNDS):
                for index, tile in enumerate(tiles):
                    taken = self._library.tune_time(ctypes.byref(memory.args), self._numbers[tile])
                    assert taken >= 0, tile
                    best[index] = min(best[index], float(taken))
            for index, taken in enumerate(best):
                times[index].append(max(taken, 1.0))
        return times

    def _memory(self, problem: Problem, share: float) -> _Memory:
        """A layer whose rows lie in order for all cells, and scattered, as frames leave them, for some."""
        kept: list[NDArray[np.generic]] = []
        random = np.random.default_rng(0)

        def keep(array: NDArray[np.generic]) -> int:
            kept.append(array)
            address: int = array.ctypes.data
            return address

        def numbers(count: int) -> int:
            memory: NDArray[np.uint8] = zeroed(self._target.itemsize * (count + 64))
            memory.fill(0x3C)  # 0.01 in either type: what is computed is no matter, but that it is a common number
            return keep(memory)

        lanes, args = self._target.vector_floats, _Args()
        segments = (_Segment * len(problem.inputs))()
        for segment, (channels, uy, ux) in zip(segments, problem.inputs, strict=True):
            height, width = -(-problem.y.n_in // uy), -(-problem.x.n_in // ux)
            cells, stride = height * width, problem.joined or round_up(channels, lanes)
            segment.stride, segment.channels, segment.uy, segment.ux, segment.width = stride, channels, uy, ux, width
            segment.pool = numbers(2 * cells * stride)
            if not problem.joined:
                order = np.arange(cells) if share >= 1 else random.permutation(2 * cells)[:cells]
                segment.map = keep(order.astype(np.int32))
        args.segments, args.n_segments = segments, len(segments)
        for name, axis in (("y", problem.y), ("x", problem.x)):
            taps = _taps(axis)
            crosses: NDArray[np.uint8] = np.asarray((taps < 0).any(axis=1), np.uint8)
            setattr(args, name, _Axis(axis.n_in, axis.n_out, axis.taps, axis.step, keep(taps), keep(crosses)))
        chosen = _cells(problem, share)
        n_cells, stride = problem.y.n_out * problem.x.n_out, round_up(problem.outputs, lanes)
        rows = chosen if share >= 1 else random.permutation(2 * n_cells)[: len(chosen)].astype(np.int32)
        args.list, args.rows, args.n = keep(chosen), keep(rows), len(chosen)
        args.out, args.out_stride, args.outputs = numbers(2 * n_cells * stride), stride, problem.outputs
        depth = sum(round_up(channels, 4) for channels, _, _ in problem.inputs) * problem.y.taps * problem.x.taps
        args.weights = numbers(depth * (problem.outputs + 8 * lanes))
        args.joined, args.threads = int(problem.joined > 0), self._threads
        args.cold, args.cold_bytes = self._cold.ctypes.data, self._cold.nbytes
        return _Memory(args, kept)


def _taps(axis: Axis) -> NDArray[np.int32]:
    """`(n_out, taps)` input cells of a centred window, -1 outside."""
    base = np.arange(axis.n_out) * axis.step if axis.step > 1 else np.arange(axis.n_out) * axis.n_in // axis.n_out
    found = base[:, None] + np.arange(axis.taps) - (axis.taps - 1) // 2
    return np.where((found >= 0) & (found < axis.n_in), found, -1).astype(np.int32)


def _cells(problem: Problem, share: float) -> NDArray[np.int32]:
    """Output cells of one phase, in raster order: all, or blocks that lie here and there."""
    height, width = problem.y.n_out, problem.x.n_out
    side = max(1, min(_BLOCK, height // 4, width // 4))
    blocks = -(-height // side), -(-width // side)
    n = blocks[0] * blocks[1]
    chosen = np.random.default_rng(1).permutation(n).reshape(blocks) < max(1, round(share * n))
    mask = np.kron(chosen, np.ones((side, side), np.bool_))[:height, :width]
    of_phase = np.zeros_like(mask)
    of_phase[:: problem.phases[0], :: problem.phases[1]] = True
    return np.flatnonzero(mask & of_phase).astype(np.int32)
