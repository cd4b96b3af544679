"""The seam between a session and what executes frames: one engine per compiled plan and backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.ir.plan import Plan
from fluxshard.options import Rfap
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.parking import Block
from fluxshard.runtime.pixel_values import PixelValues
from fluxshard.runtime.reuse.input_cache import InputCache, InputOptions, InputProposal

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepControl:
    """Settings of one frame.

    Attributes:
      keyframe: recompute everything and compare with nothing.
      rfap, remap: as in `ReuseOptions`.
      tau: threshold of every layer, in plan order.
      work: cells to recompute per grid index, `(H, W)` each, instead of what values ask for; grids left out follow the
        values. Nothing is compared, invalid cells are added.
      input: S_0 and what the network reads, from the input cache that belongs to the engine. None feeds the image
        itself: then the frame is a keyframe, or `work` has cells for every grid that features live on, and the image's.
      pixels: what the bytes of an image stand for.
    """

    keyframe: bool
    rfap: Rfap
    remap: bool
    tau: tuple[float, ...]
    work: Mapping[int, Mask] | None = None
    input: InputProposal | None = None
    pixels: PixelValues = field(default_factory=PixelValues)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """Work that a frame did.

    Attributes:
      keyframe: everything was recomputed, asked for or because of a scene cut.
      input_cells: pixels in the recompute set S_0.
      candidates: cells evaluated per layer, in plan order; for islands the cells of its outputs, or 1, if it ran.
      executed: whether the layer did anything.
      total_ms, conv_ms, island_ms: measured inside the step; 0 where the engine does not measure.
    """

    keyframe: bool
    input_cells: int
    candidates: NDArray[np.int64]
    executed: NDArray[np.bool_]
    total_ms: float = 0.0
    conv_ms: float = 0.0
    island_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """Outputs and counts of a frame.

    Attributes:
      leaves: the plan's outputs, in order; fresh tensors.
      counts: what the frame did. On a GPU the call waits for the frame, and is for the last one only.
    """

    leaves: list[Tensor | None | bool | int | float | str]
    counts: Callable[[], StepCounts]


class Inspection(Protocol):
    """Masks and maps of the last frame, for tests and pictures. Arrays are copies."""

    @property
    def rows_in_place(self) -> bool:
        """Which rule gives rows to fresh features: `slot_map.place`; otherwise `slot_map.allocate`."""
        ...

    def input_mask(self) -> Mask:
        """S_0, `(H, W)`."""
        ...

    def candidates(self, layer: str) -> Mask | None:
        """Evaluated cells of a sparse layer, `(H, W)`; None for views and islands."""
        ...

    def mask(self, value: str) -> Mask | None:
        """S of a stored value on a grid, `(H, W)`."""
        ...

    def slots(self, value: str) -> NDArray[np.int32] | None:
        """Slot map of a stored value, `(H, W)`."""
        ...

    def value(self, value: str) -> Tensor | None:
        """Assembled features of a stored value, `(1, C, H, W)`."""
        ...


@dataclass(slots=True)
class StreamState:
    """Everything that one video stream remembers. Opaque to all but the engine that made it.

    Attributes:
      data: the engine's own buffers.
      n_bytes: what they take.
    """

    data: Any = field(repr=False)
    n_bytes: int


class Engine(Protocol):
    """Runs the frames of one plan on one backend; holds weights and code, never a stream."""

    @property
    def plan(self) -> Plan:
        """The plan that is executed."""
        ...

    @property
    def name(self) -> str:
        """The backend, for reports."""
        ...

    @property
    def torch_device(self) -> torch.device:
        """Device of images and results."""
        ...

    def new_state(self, *, given: bool = False) -> StreamState:
        """Buffers of a stream that has seen nothing; its first frame must be a keyframe.

        Args:
          given: every frame that is no keyframe will come with the cells of all grids (`StepControl.work`), as those of
            planned reuse do. An engine may then keep less; what it does not keep cannot be inspected.
        """
        ...

    def new_input_cache(self, options: InputOptions) -> InputCache:
        """The input cache of a stream; what it proposes is for this engine's `step` only."""
        ...

    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        """Runs one frame and updates `state` in place.

        Args:
          state: made by this engine's `new_state`.
          image: `(1, C, H, W)` float32, contiguous, or uint8, of any strides, on `torch_device`; only read.
          motion: from the frame that the cache stands for; None for zero displacement.
          control: how to run it.
        """
        ...

    def inspect(self, state: StreamState) -> Inspection:
        """Masks and maps that the last frame left."""
        ...


@runtime_checkable
class ParkingEngine(Protocol):
    """An engine whose streams can be packed away while they are idle."""

    def blocks(self, state: StreamState) -> tuple[Block, ...]:
        """All memory of a stream; rows that no cell reads are cleared first."""
        ...


# receives a list of leaves, returns what the model returns
Unflatten = Callable[[list[Any]], Any]
