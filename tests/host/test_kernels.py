"""Every kernel against the definition of its op, cell for cell, on all instruction sets of this machine.

One generated program holds all ops; each frame prescribes the cells to recompute on every grid, so the reference
engine, which evaluates ops with `ops/reference.py`, has to recompute exactly the same cells and keep the same others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.codegen import build_step, detect_target
from fluxshard.errors import ToolchainError
from fluxshard.geometry import Grid
from fluxshard.ir.plan import Plan
from fluxshard.motion import MotionField
from fluxshard.options import InputMode, Isa, Rfap
from fluxshard.runtime.engine import StepControl, StepResult, StreamState
from fluxshard.runtime.native_engine import NativeEngine
from fluxshard.runtime.reference_engine import ReferenceEngine
from tests.host.cases import everything

Mask = NDArray[np.bool_]
ISAS = tuple(isa for isa in get_args(Isa) if isa != "native")
TOLERANCE = 2e-5
# downstream of ops that torch runs, whose bits may depend on the number of threads
OF_ISLANDS = {"gate", "level", "excited", "levelled", "attended", "conv_of_attended"}
FRAMES = ("keyframe", "nothing", "one cell", "borders", "some", "most", "moved", "everything")


def forced(grid: Grid, kind: str, random: np.random.Generator) -> Mask:
    """Cells to recompute on one grid."""
    mask = np.zeros((grid.height, grid.width), np.bool_)
    if kind == "one cell":
        mask[random.integers(grid.height), random.integers(grid.width)] = True
    elif kind == "borders":
        mask[[0, -1]] = mask[:, [0, -1]] = True
    elif kind in ("some", "moved"):
        mask = random.random(mask.shape) < 0.2
    elif kind == "most":
        mask = random.random(mask.shape) < 0.9
    elif kind == "everything":
        mask[...] = True
    return mask


def control(
    plan: Plan, *, keyframe: bool = False, work: dict[int, Mask] | None = None, input: InputMode = "assembled"
) -> StepControl:
    """Zero thresholds, no scene cuts."""
    return StepControl(
        keyframe=keyframe, rfap="off", remap=True, input=input, tau_input=0.0, tau=(0.0,) * len(plan.layers),
        scene_cut=1.0, work=work,
    )  # fmt: skip


def frames(plan: Plan) -> Iterator[tuple[str, StepControl, MotionField | None]]:
    """What each frame is run with."""
    random = np.random.default_rng(5)
    for kind in FRAMES:
        work = {index: forced(grid, kind, random) for index, grid in enumerate(plan.grids)}
        motion = None
        if kind == "moved":
            vectors = random.integers(-3, 4, (3, 2, 2))
            motion = MotionField(vectors, random.random((3, 2)) < 0.8)
        yield kind, control(plan, keyframe=kind == "keyframe", work=work), motion


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an engine left after a frame."""

    result: StepResult
    input_mask: Mask
    values: dict[str, Tensor]
    slots: dict[str, NDArray[np.int32]]
    candidates: dict[str, Mask]


def snapshot(engine: NativeEngine | ReferenceEngine, state: StreamState, result: StepResult) -> Snapshot:
    """Copies what the frame left."""
    seen: Any = engine.inspect(state)
    sparse = [layer.name for layer in engine.plan.layers if layer.mode == "sparse"]
    return Snapshot(
        result,
        seen.input_mask(),
        {name: seen.value(name) for name in stored()},
        {name: seen.slots(name) for name in stored()},
        {name: seen.candidates(name) for name in sparse},
    )


def replay(engine: NativeEngine | ReferenceEngine) -> dict[str, Snapshot]:
    """The state after each frame of the sequence."""
    plan, state = engine.plan, engine.new_state()
    random = torch.Generator().manual_seed(3)
    found = {}
    for kind, control, motion in frames(plan):
        image = torch.rand(plan.value(plan.input).shape, generator=random)
        found[kind] = snapshot(engine, state, engine.step(state, image, motion, control))
    return found


@cache
def native(isa: Isa) -> NativeEngine:
    """The generated program for an instruction set."""
    try:
        target = detect_target(isa)
    except ToolchainError as error:
        pytest.skip(str(error))
    plan, weights = everything()
    return NativeEngine(plan, build_step(plan, target), weights)


@cache
def native_frames(isa: Isa) -> dict[str, Snapshot]:
    """All frames on generated code."""
    return replay(native(isa))


@cache
def reference_frames() -> dict[str, Snapshot]:
    """All frames by definition."""
    return replay(ReferenceEngine(*everything()))


def stored() -> list[str]:
    """Values that have rows."""
    plan, _ = everything()
    return [
        name
        for layer in plan.layers
        if layer.mode != "view"
        for name in layer.outputs
        if plan.value(name).grid is not None
    ]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("frame", FRAMES)
def test_every_op_computes_what_it_is_defined_to(isa: Isa, frame: str) -> None:
    got, want = native_frames(isa)[frame], reference_frames()[frame]
    assert (got.input_mask == want.input_mask).all()
    wrong = {
        name: float((got.values[name] - want.values[name]).abs().max())
        for name in stored()
        if not torch.allclose(got.values[name], want.values[name], rtol=TOLERANCE, atol=TOLERANCE)
    }
    assert wrong == {}
    for name in stored():
        assert (got.slots[name] == want.slots[name]).all(), name
    for name, cells in want.candidates.items():
        assert (got.candidates[name] == cells).all(), name
    assert (got.result.candidates == want.result.candidates).all()
    assert (got.result.executed == want.result.executed).all()
    for a, b in zip(got.result.leaves, want.result.leaves, strict=True):
        torch.testing.assert_close(a, b, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("isa", ISAS)
def test_a_cell_has_the_same_bits_whichever_cells_are_computed_with_it(isa: Isa) -> None:
    """What was computed in parts, under a mask, equals what is computed as a whole."""
    engine = native(isa)
    plan = engine.plan
    parts, whole = engine.new_state(), engine.new_state()
    torch.manual_seed(4)
    image = torch.rand(plan.value(plan.input).shape)
    engine.step(whole, image, None, control(plan, keyframe=True, input="fresh"))
    engine.step(parts, torch.rand_like(image), None, control(plan, keyframe=True, input="fresh"))
    random = np.random.default_rng(6)
    # a layer is final one round after its inputs are
    for _ in range(6):
        shares = {i: random.random((g.height, g.width)) for i, g in enumerate(plan.grids)}
        for third in range(3):
            work = {i: (s >= third / 3) & (s < (third + 1) / 3) for i, s in shares.items()}
            engine.step(parts, image, None, control(plan, work=work, input="fresh"))
    a, b = engine.inspect(parts), engine.inspect(whole)
    different = [name for name in stored() if name not in OF_ISLANDS and not torch.equal(a.value(name), b.value(name))]  # type: ignore[arg-type]
    assert different == []


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    engine, threads = native("native"), torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            found.append(replay(engine))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for frame, first in found[0].items():
            assert (other[frame].result.candidates == first.result.candidates).all()
            for name in stored():
                if name not in OF_ISLANDS:
                    assert torch.equal(other[frame].values[name], first.values[name]), (frame, name)


def garbage(random: np.random.Generator, size: tuple[int, int]) -> MotionField:
    """Any motion: blocks of any size that move anywhere or are unknown, a few of them far beyond the frame."""
    cell = int(random.choice([1, 2, 3, 8, 40]))
    shape = -(-size[0] // cell), -(-size[1] // cell)
    reach = int(random.choice([1, 4, 30]))
    vectors = random.integers(-reach, reach + 1, (*shape, 2)) * (random.random((*shape, 1)) < random.choice([0.1, 1.0]))
    return MotionField(vectors, random.random(shape) < random.choice([0.6, 1.0]), cell)


@pytest.mark.parametrize("remap", [True, False])
@pytest.mark.parametrize("rfap", ["off", "compact", "per_layer"])
def test_motion_alone_decides_the_same_cells(rfap: Rfap, remap: bool) -> None:
    """With thresholds that nothing exceeds, candidates follow from geometry: rounding cannot excuse a difference."""
    engines: tuple[NativeEngine | ReferenceEngine, ...] = native("native"), ReferenceEngine(*everything())
    plan = engines[0].plan
    states = [engine.new_state() for engine in engines]
    random, pixels = np.random.default_rng(11), torch.Generator().manual_seed(11)
    for number in range(12):
        image = torch.rand(plan.value(plan.input).shape, generator=pixels)
        motion = garbage(random, plan.image_size)
        how = StepControl(
            keyframe=number == 0, rfap=rfap, remap=remap, input="assembled", tau_input=1e30,
            tau=(1e30,) * len(plan.layers), scene_cut=1.0,
        )  # fmt: skip
        got, want = (
            snapshot(engine, state, engine.step(state, image, motion, how))
            for engine, state in zip(engines, states, strict=True)
        )
        assert (got.input_mask == want.input_mask).all()
        for name, cells in want.candidates.items():
            assert (got.candidates[name] == cells).all(), (number, name)
        for name in stored():
            assert (got.slots[name] == want.slots[name]).all(), (number, name)
