"""Measures the tiles of every convolution on a device, and keeps what was fastest.

A layer is launched alone, on memory of the whole model in which every cell is its own row, with all cells and with a
quarter of them; the product of both times decides. Results are kept per device, so a model is measured once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.cache import cache_root
from fluxshard.codegen.cuda.launches.kernels import FewTile, Gemm, GemmTile, name_of
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.launches.tiles import Problem, candidates
from fluxshard.codegen.cuda.program import Bound, Loader
from fluxshard.files import write_whole
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.ir.stream_layout import Region

SCHEMA = 1
_SHARES = (1.0, 0.25)
_PLANNED = Order(planned=True, rfap="off", remap=True)

Progress = Callable[[int, int], None]  # rounds done, and all of them


class Bench(Protocol):
    """Memory and time of a device."""

    def allocate(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Addresses of zeroed blocks of so many bytes; what was allocated before is given up."""
        ...

    def write(self, address: int, array: NDArray[np.generic]) -> None:
        """Writes into what was allocated."""
        ...

    def time_ms(self, launch: Bound) -> float:
        """Time of a launch on a device that is warm, in milliseconds."""
        ...


def tune(
    plan: Plan, target: CudaTarget, loader: Loader, bench: Bench, device: str, root: Path | None = None,
    progress: Progress | None = None, limit: int | None = None,
) -> dict[str, GemmTile]:  # fmt: skip
    """The fastest tile of each layer that is a GEMM.

    Args:
      plan: the network.
      target: for which kernels are generated.
      loader: compiles them.
      bench: measures them.
      device: its name, under which results are kept.
      root: of the cache, instead of `FLUXSHARD_CACHE_DIR`.
      progress: told after each round.
      limit: most tiles to try per layer; None tries all.

    Raises:
      CompileError: a kernel is refused.
    """
    describer = Describer(plan, target)
    problems = {layer.name: problem for layer in plan.layers if (problem := describer.problem(layer)) is not None}
    path = (root or cache_root()) / f"tiles-{_slug(device)}-{target.arch}-{target.dtype}.json"
    known = _read(path)
    open_ = {problem: name for name, problem in problems.items() if _key(problem) not in known}
    choices = {name: candidates(target, problem)[:limit] for problem, name in open_.items()}
    rounds = max(map(len, choices.values()), default=0)
    times: dict[str, dict[GemmTile, float]] = {name: {} for name in choices}
    for index in range(rounds):
        tiles = {name: found[index] for name, found in choices.items() if index < len(found)}
        for name, ms in _measure(plan, target, loader, bench, tiles).items():
            times[name][tiles[name]] = ms
        if progress is not None:
            progress(index + 1, rounds)
    for problem, name in open_.items():
        known[_key(problem)] = min(times[name], key=lambda tile: times[name][tile])
    if open_:
        _write(path, known)
    return {name: known[_key(problem)] for name, problem in problems.items()}


def _measure(
    plan: Plan, target: CudaTarget, loader: Loader, bench: Bench, tiles: Mapping[str, GemmTile]
) -> dict[str, float]:
    """Time of each layer with its tile: the product over shares of work."""
    describer = Describer(plan, target, tiles)
    launches = {
        step.layer: step
        for step in describer.order(_PLANNED)
        if isinstance(step, Launch) and isinstance(step.kernel, Gemm) and step.layer in tiles
    }
    loaded = loader.load({name_of(step.kernel): (step.kernel, step.args.size) for step in launches.values()})
    memory, layout = describer.memory, describer.memory.layout
    state, given, constants = bench.allocate((memory.state.size, memory.inputs.size, memory.constants.size))
    bases: dict[Region, int] = {"state": state, "input": given, "constants": constants}
    for content, offset in memory.constants.tables.items():
        bench.write(constants + offset, np.frombuffer(content, np.uint8))
    for grid, where in zip(plan.grids, layout.grids, strict=True):
        cells = np.arange(grid.cells, dtype=np.int32)
        for pointer in (*where.maps, where.list, where.rows):
            bench.write(state + pointer.offset, cells)
    times = dict.fromkeys(launches, 1.0)
    for name, step in launches.items():
        executable = loaded[name_of(step.kernel)]
        grid_index = layout.stores[plan.layer(name).output].grid
        bound = executable.bind(executable.blocks(step.blocks), step.args.encode(bases))
        for share in _SHARES:
            count = max(1, int(share * plan.grids[grid_index].cells))
            bench.write(state + layout.n_of_grid[grid_index].offset, np.array([count], np.int32))
            times[name] *= bench.time_ms(bound)
    return times


def _key(problem: Problem) -> str:
    return hashlib.sha256(repr((SCHEMA, problem)).encode()).hexdigest()[:16]


def _slug(device: str) -> str:
    return "".join(ch if ch.isalnum() else "-" for ch in device.lower())[:60]


def _read(path: Path) -> dict[str, GemmTile]:
    """Kept results; anything wrong with them makes a miss."""
    try:
        return {key: _tile(fields) for key, fields in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}


def _tile(fields: dict[str, Any]) -> GemmTile:
    few = fields.pop("few")
    return GemmTile(**fields, few=None if few is None else FewTile(**few))


def _write(path: Path, known: Mapping[str, GemmTile]) -> None:
    """Replaces the file at once; a cache that cannot be written costs another measurement."""
    body = json.dumps({key: asdict(tile) for key, tile in known.items()}, indent=1)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, body.encode())
