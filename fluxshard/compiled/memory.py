"""Where the memory of streams of a compiled program goes."""

from __future__ import annotations

from collections.abc import Callable

from fluxshard.explain import Memory
from fluxshard.ir.step_layout import Keep
from fluxshard.ir.step_memory import memory_parts
from fluxshard.options import PlannedOptions
from fluxshard.runtime.engines.cpp import CppEngine
from fluxshard.runtime.parking import memory_of
from fluxshard.runtime.planned.levels import levels_of
from fluxshard.runtime.stream import Program


def memory_finder(program: Program) -> Callable[[], Memory] | None:
    """What finds it; None where the backend does not say."""
    engine = program.engine
    if not isinstance(engine, CppEngine):
        return None

    def find() -> Memory:
        plan, layout, options = engine.plan, engine.layout, PlannedOptions()
        test = program.make_test(plan.grids[0], levels_of(plan, options), plan.grids, options)
        tested = sum(block.nbytes for block in memory_of(test))
        return Memory(
            planned=memory_parts(plan, layout, Keep.GIVEN) | {"image test": tested},
            propagated=layout.sizes[Keep.ALL],
            scratch=layout.scratch_size,
        )

    return find
