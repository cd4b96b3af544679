"""Measures the tiles of every convolution on this processor, and keeps what was fastest.

A layer is measured alone, with all of its cells and with some of them. The rule's tile is always among those that are
tried, and another has to be clearly better. Results are kept per processor, so a layer is measured once. A tile says in
what portions sums are computed, never in what order: results have the same bits with every tile.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from fluxshard.codegen.common.cache import cache_root
from fluxshard.codegen.cpp.lowering import describe
from fluxshard.codegen.cpp.tiles import Tile
from fluxshard.codegen.cpp.tuning.problem import Problem, candidates, problems_of
from fluxshard.files import write_whole
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import Plan

SHARES = (1.0, 0.15)  # of the cells: a whole frame, and a planned one
MARGIN = 0.03  # by which another tile has to be faster than the rule's in the mean
_NO_WORSE = 0.01  # by which it may be slower at one share: timers are no better
BUDGET_S = 40.0

Progress = Callable[[int, int], None]  # layers measured, and all that are to be


class Bench(Protocol):
    """Times kernels on a processor."""

    def measure(self, problem: Problem, tiles: Sequence[Tile], shares: Sequence[float]) -> list[list[float]]:
        """Time of each tile at each share of the cells, in one unit."""
        ...


def tune(
    plan: Plan, target: Target, bench: Callable[[], Bench], identity: str, root: Path | None = None,
    progress: Progress | None = None, budget_s: float = BUDGET_S, clock: Callable[[], float] = time.monotonic,
) -> dict[str, Tile]:  # fmt: skip
    """The tile of each convolution for which another than the rule's is faster.

    Args:
      plan: the network.
      target: for which it is generated.
      bench: makes what measures; called only if something is to be measured.
      identity: what results depend on beside the layer: the processor, its threads, and the kernels.
      root: of the cache, instead of `FLUXSHARD_CACHE_DIR`.
      progress: told after each layer.
      budget_s: seconds after which the layers that are left take the rule's tile, until the model is compiled again.
      clock: seconds.

    Raises:
      ToolchainError: kernels cannot be compiled, and something is to be measured.
    """
    problems = problems_of(describe(plan, target))
    path = (root or cache_root()) / f"cpu-tiles-{_digest(identity)}.json"
    known = _read(path, identity)
    allowed = {problem: candidates(problem, target) for problem in set(problems.values())}
    chosen = {problem: known.get(_digest(repr(problem))) for problem in allowed}
    chosen = {problem: tile for problem, tile in chosen.items() if tile in allowed[problem]}
    # the same order every time, and what takes longest first
    open_ = sorted((problem for problem in allowed if problem not in chosen), key=lambda p: (-p.macs, p))
    if open_:
        timer, started = bench(), clock()
        for index, problem in enumerate(open_):
            if clock() - started > budget_s:
                break
            times = timer.measure(problem, allowed[problem], SHARES)
            chosen[problem] = known[_digest(repr(problem))] = best(allowed[problem], times)
            if progress is not None:
                progress(index + 1, len(open_))
        _write(path, identity, known)
    return {
        name: tile
        for name, problem in problems.items()
        if (tile := chosen.get(problem)) is not None and tile != allowed[problem][0]
    }


def best(tiles: Sequence[Tile], times: Sequence[Sequence[float]]) -> Tile:
    """The first tile, which is the rule's, unless another is clearly faster in the mean and slower nowhere.

    Args:
      tiles: what was measured.
      times: of each tile at each share.
    """
    rule, chosen, least = times[0], tiles[0], 1.0 - MARGIN
    for tile, taken in zip(tiles[1:], times[1:], strict=True):
        ratios = [a / b for a, b in zip(taken, rule, strict=True)]
        mean = 1.0
        for ratio in ratios:
            mean *= ratio ** (1 / len(ratios))
        if max(ratios) <= 1.0 + _NO_WORSE and mean < least:
            chosen, least = tile, mean
    return chosen


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path, identity: str) -> dict[str, Tile]:
    """Kept results; anything wrong with one makes it a miss."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["identity"] != identity:
            return {}
        entries = content["tiles"].items()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {
        str(key): Tile(*value)
        for key, value in entries
        if isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value)
    }


def _write(path: Path, identity: str, known: Mapping[str, Tile]) -> None:
    """Replaces the file at once; a cache that cannot be written costs another measurement."""
    tiles = {key: [tile.cells, tile.vectors] for key, tile in sorted(known.items())}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"identity": identity, "tiles": tiles}, indent=1).encode())
