"""The law of levels that move on their own, for any engine: it does what the reference does, frame by frame."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from fluxshard.geometry import Grid
from fluxshard.ir.plan import Plan
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.options import Rfap
from fluxshard.runtime.engines.engine import Engine, Mask, StepControl, StepResult
from fluxshard.runtime.level_motion import LevelMotion, Motion
from fluxshard.runtime.reuse.displacement import displacement_field
from fluxshard.runtime.reuse.input_cache import InputOptions
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import assert_same_counts, assert_same_inspections

# what says which cells are recomputed: masks of all grids or of the image alone, without an input cache or with one,
# or the cache itself, which may keep its coordinates
Work = Literal["planned", "planned, assembled", "given", "compared", "not remapped"]
WORK: tuple[Work, ...] = get_args(Work)
_RFAP: tuple[Rfap, ...] = ("off", "compact", "per_layer")
_LEVELS = 3


def check(made: Engine, reference: Engine, seed: int, work: Work) -> None:
    """Levels move on their own in every second frame; between them all move alike, or nothing does.

    Nets are of integers, so that results, counts, masks, slot maps and values are equal, bit for bit.

    Args:
      made: the engine under test, whose images and results are on the host.
      reference: the engine that defines what it does.
      seed: of content, motion and work.
      work: what is recomputed.
    """
    plan, rng = reference.plan, np.random.default_rng(seed)
    engines = made, reference
    states = [engine.new_state() for engine in engines]
    remap = work != "not remapped"
    mode: Literal["fresh", "assembled"] = "assembled" if seed % 2 else "fresh"
    options = InputOptions(tau=0.0, scene_cut=1.0, mode=mode, remap=remap)
    caches = [engine.new_input_cache(options) for engine in engines]
    differ = 0
    for number, (image, motion) in enumerate(frames("blocks", plan.image_size, 12, seed, integer=True)):
        keyframe = number in (0, 8)
        moved = None if keyframe else _motion(number, rng, plan, motion)
        differ += isinstance(moved, LevelMotion) and levels_differ(moved, plan.grids)
        given = None if keyframe or work in ("compared", "not remapped") else _masks(rng, plan.grids, work)
        pixels = None if given is None else given[0]
        results: list[StepResult] = []
        for engine, state, cache in zip(engines, states, caches, strict=True):
            offered = None
            if work not in ("planned", "given"):
                offered = cache.propose(image, moved, keyframe=keyframe, given=pixels)
                cache.commit(offered)
            control = StepControl(
                keyframe=keyframe, rfap=_RFAP[number % 3], remap=remap, tau=(float(seed % 2),) * len(plan.layers),
                work=given, input=offered,
            )  # fmt: skip
            results.append(engine.step(state, image, moved, control))
        one, two = results
        assert_same(one.leaves, two.leaves, 0.0)
        assert_same_counts(one.counts(), two.counts())
        assert_same_inspections(made.inspect(states[0]), reference.inspect(states[1]), plan, values=True)
    assert differ >= 2, "levels hardly ever moved differently: nothing was tested"


def _motion(number: int, rng: np.random.Generator, plan: Plan, given: MotionField | None) -> Motion | None:
    if number % 2 == 0:
        return (given, MotionField.zero(*plan.image_size), None)[number // 2 % 3]
    levels = tuple(_field(rng, plan.image_size) for _ in range(_LEVELS))
    named = len(plan.grids) - int(rng.integers(4) == 0)  # the last grids may be left out
    level_of = tuple(None if level == _LEVELS else int(level) for level in rng.integers(0, _LEVELS + 1, named))
    return LevelMotion(given or MotionField.zero(*plan.image_size), levels, level_of)


def _field(rng: np.random.Generator, size: tuple[int, int]) -> MotionField:
    shape = cells(size[0], CELL_PX), cells(size[1], CELL_PX)
    spread = int(rng.choice([0, 4, 8, 30]))
    valid = rng.random(shape) < rng.choice([1, 0.9])
    return MotionField(rng.integers(-spread, spread + 1, (*shape, 2)), valid)


def levels_differ(motion: LevelMotion, grids: tuple[Grid, ...]) -> bool:
    """Whether a grid moves otherwise than it would with the image."""
    fields = (
        [displacement_field(field, grid, grids[0]) for field in (motion.of_grid(index), motion.image)]
        for index, grid in enumerate(grids)
    )
    return any(
        (own.displacement != other.displacement).any() or (own.valid != other.valid).any() for own, other in fields
    )


def _masks(rng: np.random.Generator, grids: tuple[Grid, ...], work: Work) -> dict[int, Mask]:
    masks = {index: rng.random((grid.height, grid.width)) < 0.4 for index, grid in enumerate(grids)}
    return {0: masks[0]} if work == "given" else masks
