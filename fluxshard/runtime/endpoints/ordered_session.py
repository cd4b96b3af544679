"""A stream on an endpoint that does what another endpoint has decided."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fluxshard.errors import ShapeError, StateError
from fluxshard.options import ReuseOptions
from fluxshard.runtime.alone import alone
from fluxshard.runtime.endpoints.engine_stream import EngineStream, Ran
from fluxshard.runtime.endpoints.work_order import WorkOrder, WorkOrders, work_orders
from fluxshard.runtime.engines.engine import Mask, StepControl, StreamState
from fluxshard.runtime.idle import Idle, Parking
from fluxshard.runtime.level_motion import Motion, motion_of
from fluxshard.runtime.parking import Bytes, HoldsMemory, memory_of
from fluxshard.runtime.pixel_values import PixelValues
from fluxshard.runtime.reuse.input_cache import InputCache, InputOptions
from fluxshard.runtime.reuse.thresholds import tau_per_layer
from fluxshard.runtime.stream import Program, laid_out


@dataclass(frozen=True, slots=True)
class _Told:
    """See `Idle`: a stream without a policy."""

    program: Program
    state: StreamState
    policy: HoldsMemory


@dataclass(frozen=True, slots=True)
class _Input:
    """See `HoldsMemory`: the input cache, where there is one."""

    cache: InputCache | None

    def memory(self) -> tuple[Bytes, ...]:
        """See `HoldsMemory.memory`."""
        return memory_of(self.cache)


class OrderedSession(Parking):
    """Runs frames by order. It tests no image: the orders are made where the whole picture is.

    Args:
      program: for the stream's size of image.
      reuse: policy and options, as on the endpoint that decides.
      sparse_image: only the pixels of S_0 are given, and the rest is assembled from cached ones. False: images are
        whole, and the network reads what `reuse` says.

    Raises:
      OptionError: thresholds of layers that the plan does not have.
    """

    def __init__(self, program: Program, reuse: ReuseOptions, *, sparse_image: bool) -> None:
        super().__init__()
        plan = program.engine.plan
        self._reuse, self._program = reuse, program
        self._orders: WorkOrders = work_orders(plan, reuse)
        planned = reuse.policy == "planned"
        self._stream = EngineStream(program, given=planned)
        # planned work is compared with nothing; values off the grids count as changed whenever they are computed
        self._tau = (-1.0,) * len(plan.layers) if planned else tau_per_layer(plan, reuse.tau)
        self._cache: InputCache | None = None
        if sparse_image or not planned or reuse.input_mode == "assembled":
            mode = "assembled" if sparse_image else reuse.input_mode
            options = InputOptions(tau=0.0, scene_cut=1.0, mode=mode, remap=True)
            self._cache = program.engine.new_input_cache(options)
        self._pixels = PixelValues(*reuse.planned.pixel_range)
        self._has_cache = False

    @property
    def needs_key(self) -> bool:
        """Nothing is cached: only a keyframe can be run."""
        return not self._has_cache

    @property
    def n_bytes(self) -> int:
        """Memory of the stream, packed where it is parked."""
        if self.parked:
            return self.parked_bytes
        return self._stream.n_bytes + (0 if self._cache is None else self._cache.n_bytes)

    @property
    def orders(self) -> WorkOrders:
        """What orders of this stream look like."""
        return self._orders

    @alone
    def reset(self) -> None:
        """Forgets the stream.

        Raises:
          StateError: the session is used in another thread.
        """
        self._unpark()
        self._has_cache = False

    @alone
    def run(self, image: Tensor, motion: Motion | None, order: WorkOrder) -> Ran:
        """Runs a frame.

        Args:
          image: `(1, C, H, W)` float32 or uint8, on the CPU or the engine's device; where images are sparse, right in
            S_0.
          motion: since the frame that ran last here; None for zero displacement.
          order: its work.

        Raises:
          StateError: nothing is cached, and the order is no keyframe; or the session is used in another thread.
          ShapeError: an image, motion or masks of another size.
        """
        plan = self._program.engine.plan
        expected = plan.value(plan.input).shape
        if tuple(image.shape) != expected or image.dtype not in (torch.float32, torch.uint8):
            raise ShapeError(
                f"image is {tuple(image.shape)} {image.dtype}; expected {expected} torch.float32 or torch.uint8"
            )
        if self.needs_key and not order.keyframe:
            raise StateError("nothing is cached for this stream: its next frame has to be a keyframe")
        motion = None if order.keyframe else motion
        moved = motion_of(motion, 0)
        if moved is not None:
            moved.check_covers(*plan.image_size)
        work = None if order.keyframe else self._orders.work(order, motion)
        image = laid_out(image.to(self._program.engine.torch_device))
        self._unpark()
        self._has_cache = False  # a frame that fails leaves nothing to reuse
        control = self._control(image, motion, order, work)
        ran = self._stream.run(image, motion, control)
        self._has_cache = bool(torch.isfinite(image).all()) if order.keyframe else True
        return ran

    def _ran(self) -> Idle:
        if self.needs_key:
            raise StateError("nothing is cached for this stream: run a keyframe first")
        return _Told(self._program, self._stream.state, _Input(self._cache))

    def _control(
        self, image: Tensor, motion: Motion | None, order: WorkOrder, work: dict[int, Mask] | None
    ) -> StepControl:
        given = None
        if self._cache is not None:
            pixels = None if work is None else work[0]
            given = self._cache.propose(self._pixels.floats(image), motion, keyframe=order.keyframe, given=pixels)
            self._cache.commit(given)
        return StepControl(
            keyframe=order.keyframe, rfap=self._reuse.rfap, remap=True, tau=self._tau, work=work, input=given,
            pixels=self._pixels,
        )  # fmt: skip
