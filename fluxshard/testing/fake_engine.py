"""An engine for tests of sessions, pipelines and commands: it needs no compiler and records what it is asked.

Its network is one layer, the mean of every 8-px cell of the image. It computes that whole for every frame, so outputs
are exact under any settings; masks and counts are those of an engine that compares pixels in place and recomputes the
cells that changed, or the cells that it is told to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import FluxShardError, OptionError
from fluxshard.geometry import Grid
from fluxshard.ir.params import Conv2d
from fluxshard.ir.plan import LayerSpec, Output, Plan, ValueSpec, WeightSpec
from fluxshard.ir.verify import verify
from fluxshard.ir.windows import windows_of
from fluxshard.motion import CELL_PX
from fluxshard.options import ReuseOptions
from fluxshard.runtime.engines.engine import Mask, StepControl, StepCounts, StepResult, StreamState
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.reuse.input_cache import InputOptions, ReferenceInputCache
from fluxshard.runtime.reuse.slot_map import identity
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program

IMAGE, MEAN = "image", "mean"
"""Names of the input and of the only layer, which is also the name of its output."""


@dataclass(frozen=True, slots=True, eq=False)
class EngineCall:
    """One frame that an engine was asked to run.

    Attributes:
      image: `(1, C, H, W)`, a copy.
      motion, control: as given to `Engine.step`.
    """

    image: Tensor
    motion: Motion | None
    control: StepControl


@dataclass(slots=True)
class _Data:
    """One stream: what the last frame recomputed and returned."""

    changed: Mask  # (H, W)
    candidates: Mask  # (H / 8, W / 8)
    means: Tensor  # (1, C, H / 8, W / 8)


class FakeEngine:
    """See the module's docstring; implements `Engine`.

    Args:
      size: (H, W) of the images in pixels, at least 8 each.
      channels: of the images.
      answer: makes what a frame returns from its image `(1, C, H, W)`; None returns the means `(1, C, H / 8, W / 8)`.
      fail_at: number of the call that fails, from 0; None never fails.

    Attributes:
      calls: all frames so far, of all streams, those that failed included.

    Raises:
      OptionError: images smaller than one cell.
    """

    name = "fake"
    torch_device = torch.device("cpu")

    def __init__(
        self,
        size: tuple[int, int],
        channels: int = 3,
        *,
        answer: Callable[[Tensor], Tensor] | None = None,
        fail_at: int | None = None,
    ) -> None:
        if min(size) < CELL_PX:
            raise OptionError(f"size (={size}) must be at least {CELL_PX} px per axis: the engine averages 8-px cells")
        self.plan = mean_plan(size, channels)
        self.calls: list[EngineCall] = []
        self._answer = answer
        self._fail_at = fail_at

    def session(self, reuse: ReuseOptions | None = None) -> Session:
        """A new stream through this engine; it returns one tensor per frame. See `CompiledModel.session`."""
        return Session(lambda _: Program(self, lambda leaves: leaves[0]), reuse or ReuseOptions())

    def new_state(self, *, given: bool = False) -> StreamState:
        """See `Engine.new_state`."""
        image, cells = self.plan.grids
        means = torch.zeros(self.plan.value(MEAN).shape)
        nothing = np.zeros((image.height, image.width), np.bool_), np.zeros((cells.height, cells.width), np.bool_)
        return StreamState(_Data(*nothing, means), 4 * means.numel())

    def new_input_cache(self, options: InputOptions) -> ReferenceInputCache:
        """See `Engine.new_input_cache`."""
        return ReferenceInputCache(self.plan.grids[0], self.plan.value(IMAGE).channels, options)

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        """See `Engine.step`.

        Raises:
          FluxShardError: this is the call that `fail_at` names.
        """
        self.calls.append(EngineCall(image.clone(), motion, control))
        image = control.pixels.floats(image)
        if len(self.calls) - 1 == self._fail_at:
            raise FluxShardError(f"the fake engine fails at call {self._fail_at}, as fail_at={self._fail_at} asks")
        data: _Data = state.data
        keyframe, changed = _input(image, control)
        given = None if keyframe or control.work is None else control.work.get(1)
        candidates = _cells_with(changed) if given is None else given.copy()
        data.changed, data.candidates = changed, candidates
        data.means = F.avg_pool2d(image, CELL_PX)
        output = data.means.clone() if self._answer is None else self._answer(image)
        counts = StepCounts(
            keyframe=keyframe,
            input_cells=int(changed.sum()),
            candidates=np.array([candidates.sum()], np.int64),
            executed=np.array([candidates.any()], np.bool_),
        )
        return StepResult(leaves=[output], counts=lambda: counts)

    def inspect(self, state: StreamState) -> FakeInspection:
        """See `Engine.inspect`."""
        return FakeInspection(replace(state.data))


@dataclass(frozen=True, slots=True)
class FakeInspection:
    """Masks and features of the last frame of a `FakeEngine`; implements `Inspection`."""

    _data: _Data

    @property
    def rows_in_place(self) -> bool:
        """See `Inspection.rows_in_place`."""
        return True

    def input_mask(self) -> Mask:
        """See `Inspection.input_mask`."""
        return self._data.changed.copy()

    def candidates(self, layer: str) -> Mask | None:
        """See `Inspection.candidates`."""
        return self._data.candidates.copy() if layer == MEAN else None

    def mask(self, value: str) -> Mask | None:
        """See `Inspection.mask`."""
        return self.candidates(value)

    def slots(self, value: str) -> NDArray[np.int32] | None:
        """See `Inspection.slots`: every cell has the row of its own position."""
        shape = self._data.candidates.shape
        return identity(self._data.candidates.size).reshape(shape) if value == MEAN else None

    def value(self, value: str) -> Tensor | None:
        """See `Inspection.value`."""
        return self._data.means.clone() if value == MEAN else None


def mean_plan(size: tuple[int, int], channels: int) -> Plan:
    """The plan of one depthwise convolution that averages 8-px cells.

    Args:
      size: (H, W) of the image in pixels; what is left over at the lower and right border is not read.
      channels: of the image.
    """
    params = Conv2d(stride=(CELL_PX, CELL_PX), groups=channels)
    cells = (size[0] // CELL_PX, size[1] // CELL_PX)
    windows = windows_of(params, size, cells, (CELL_PX, CELL_PX))
    image = Grid(*size)
    layer = LayerSpec(
        name=MEAN,
        params=params,
        inputs=(IMAGE,),
        outputs=(MEAN,),
        weights=(("weight", f"{MEAN}.weight"),),
        windows=windows,
        macs=channels * CELL_PX * CELL_PX * cells[0] * cells[1],
    )
    plan = Plan(
        name="CellMeans",
        input=IMAGE,
        grids=(image, image.through(*windows, *cells)),
        values=(
            ValueSpec(name=IMAGE, shape=(1, channels, *size), grid=0),
            ValueSpec(name=MEAN, shape=(1, channels, *cells), grid=1),
        ),
        layers=(layer,),
        weights=(WeightSpec(name=f"{MEAN}.weight", shape=(channels, 1, CELL_PX, CELL_PX)),),
        outputs=(Output(value=MEAN),),
        output_tree="",
    )
    verify(plan)
    return plan


def _input(image: Tensor, control: StepControl) -> tuple[bool, Mask]:
    """Whether everything is recomputed, and S_0 `(H, W)`."""
    if control.input is not None:
        return control.input.keyframe, control.input.mask()
    if control.keyframe or control.work is None:
        return True, np.ones(tuple(image.shape[2:]), np.bool_)
    return False, control.work[0].copy()


def _cells_with(changed: Mask) -> Mask:
    """Whole 8-px cells that hold a changed pixel."""
    height, width = (size // CELL_PX for size in changed.shape)
    blocks = changed[: height * CELL_PX, : width * CELL_PX].reshape(height, CELL_PX, width, CELL_PX)
    found: Mask = np.any(blocks, axis=(1, 3), keepdims=False)
    return found
