"""Session: one video stream through one compiled model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import OptionError, ShapeError, StateError
from fluxshard.ir.plan import Plan
from fluxshard.motion import CELL_PX, MotionField, accumulate, cells
from fluxshard.options import ReuseOptions
from fluxshard.runtime.engines.engine import Engine, Inspection, Mask, StepControl, StepCounts, StreamState, Unflatten
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.planner import MakeTest, PlannedFrame, Planner
from fluxshard.runtime.reuse.canvas import Canvas
from fluxshard.runtime.stats import FrameStats
from fluxshard.runtime.work_stats import Times, WorkCounter, frame_stats, work_map


@dataclass(frozen=True, slots=True)
class Program:
    """A plan that can be run: what a session needs for one image size.

    Attributes:
      engine: runs frames.
      unflatten: leaves to the structure that the model returns.
      make_test: makes the image tests of planned reuse.
      canvas_px: how much larger than the image the engine's plan is, per axis.
      dense_macs: multiply-accumulates that work is counted against: those of the network on the image itself; 0 takes
        those of the engine's plan.
    """

    engine: Engine
    unflatten: Unflatten
    make_test: MakeTest = ReferenceImageTest
    canvas_px: int = 0
    dense_macs: int = 0


class Session:
    """Runs the frames of one stream, reusing what earlier frames computed. Not thread-safe; make one per stream.

    Make it with `CompiledModel.session()`; it is a context manager that frees the stream's buffers at the end.

    Args:
      program_for: the program for an image of `(1, C, H, W)`; compiles on the first use of a size.
      reuse: what to reuse.
    """

    def __init__(self, program_for: Callable[[Tensor], Program], reuse: ReuseOptions) -> None:
        self._program_for = program_for
        self._reuse = reuse
        self._program: Program | None = None
        self._state: StreamState | None = None
        self._size: tuple[int, ...] | None = None
        self._fresh = True  # the next frame must be a keyframe
        self._since_keyframe: MotionField | None = None  # accumulated motion, for remap=False
        self._frame = 0
        self._stats: FrameStats | None = None
        self._measure: Callable[[], FrameStats] | None = (
            None  # of the last frame: on a GPU, counts are fetched on demand
        )
        self._tau: tuple[float, ...] = ()
        self._macs: WorkCounter | None = None
        self._counts: Callable[[], StepCounts] | None = None
        self._planner: Planner | None = None
        self._planned: PlannedFrame | None = None
        self._canvas: Canvas | None = None
        self._closed = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the stream's buffers; the session cannot run frames any more."""
        if self._stats is None and self._measure is not None:
            with contextlib.suppress(RuntimeError):  # from torch, where the GPU has stopped working
                self._stats = self._measure()
        self._state = self._program = self._measure = self._counts = self._planner = self._planned = self._canvas = None
        self._closed = True

    def reset(self) -> None:
        """Forgets the stream: the next frame is run whole and counts as the first."""
        self._fresh, self._since_keyframe, self._frame = True, None, 0
        self._stats = self._measure = self._counts = self._planned = None
        if self._program is not None and self._size is not None:
            self._start(self._program, (self._size[2], self._size[3]))

    @property
    def reuse(self) -> ReuseOptions:
        """What this session reuses."""
        return self._reuse

    @property
    def stats(self) -> FrameStats:
        """Measurements of the last frame; on a GPU the first access after a frame waits for it.

        Raises:
          StateError: no frame has run.
        """
        if self._stats is None:
            if self._measure is None:
                raise StateError("session has no statistics yet: run a frame first")
            self._stats = self._measure()
        return self._stats

    @property
    def origin(self) -> tuple[int, int]:
        """(y, x) of the last frame's image on what the outputs describe; (0, 0) without a canvas."""
        return (0, 0) if self._canvas is None else self._canvas.origin

    @property
    def planned(self) -> PlannedFrame | None:
        """What planned reuse decided for the last frame, before it ran; None for other policies."""
        return self._planned

    @property
    def counted(self) -> StepCounts:
        """Cells that the last frame evaluated; on a GPU, waits for it.

        Raises:
          StateError: no frame has run.
        """
        if self._counts is None:
            raise StateError("session has counted nothing yet: run a frame first")
        return self._counts()

    def focus(self, regions: NDArray[np.uint8] | NDArray[np.bool_]) -> None:
        """Says where the objects of the last frame are: planned reuse takes smaller thresholds near them from now on.

        Call it after every frame, with nothing set where there are no objects. Without it, all of the image counts as
        near. Other policies ignore it. `models.regions.regions` makes it from detections.

        Args:
          regions: `(ceil(H / 8), ceil(W / 8))` over cells of 8 px of what the outputs describe, the image or the
            canvas: `options.OBJECT` or True where there is an object, `options.SMALL_OBJECT` for a small one, else 0.

        Raises:
          ShapeError: regions of another shape or dtype.
          StateError: no frame has run.
        """
        program, _ = self._ran()
        height, width = program.engine.plan.image_size
        expected = cells(height, CELL_PX), cells(width, CELL_PX)
        if regions.shape != expected or regions.dtype not in (np.bool_, np.uint8):
            raise ShapeError(
                f"regions are {regions.shape} {regions.dtype}; expected {expected} uint8 or bool: one per 8 px of the "
                f"outputs' {height}x{width} px"
            )
        if self._planner is not None:
            self._planner.focus(regions.astype(np.uint8))

    @property
    def state_bytes(self) -> int:
        """Memory that the stream's caches take; 0 before the first frame."""
        return 0 if self._state is None else self._state.n_bytes

    def run(self, image: Tensor, motion: MotionField | None = None) -> Any:
        """Runs one frame.

        Args:
          image: `(1, C, H, W)` float32 in the range that the model expects; only read. A new size starts the stream
            anew. NaN and infinity are computed with as the model would, and never kept as reusable.
          motion: where each cell's content was in the frame of the previous call; None compares at zero displacement.

        Returns:
          what the model returns for this image, as new tensors.

        Raises:
          ShapeError: an image or motion of the wrong shape, dtype or device.
          StateError: the session is closed.
        """
        return self._run(image, motion, None)

    def run_with_work(self, image: Tensor, motion: MotionField | None, work: Mapping[int, Mask]) -> Any:
        """Runs one frame and recomputes exactly the given cells, whatever the values say: for benchmarks and planning.

        Args:
          image, motion: as for `run`.
          work: `(H, W)` bool per index of `Plan.grids`; grids left out follow the values.
        """
        return self._run(image, motion, dict(work))

    def inspect(self) -> Inspection:
        """Masks, slot maps and features that the last frame left, as copies.

        Raises:
          StateError: no frame has run.
        """
        program, state = self._ran()
        return program.engine.inspect(state)

    def recompute_mask(self) -> Mask:
        """S_0 of the last frame: `(H, W)` bool over input pixels."""
        return self.inspect().input_mask()

    def work_map(self) -> NDArray[np.float32]:
        """Share of the dense multiply-accumulates that the last frame executed around each 8-px cell.

        Returns:
          `(ceil(H / 8), ceil(W / 8))`, 0..1.
        """
        program, _ = self._ran()
        return work_map(program.engine.plan, self.inspect())

    def _ran(self) -> tuple[Program, StreamState]:
        if self._program is None or self._state is None or self._measure is None:
            raise StateError("session is closed" if self._closed else "session has run no frame yet")
        return self._program, self._state

    def _run(self, image: Tensor, motion: MotionField | None, work: dict[int, Mask] | None) -> Any:
        started = time.perf_counter()
        if self._closed:
            raise StateError("session is closed; make a new one with model.session()")
        _check_image(image)
        if motion is not None:
            motion.check_covers(image.shape[2], image.shape[3])
        program, state = self._prepare(image)
        if self._fresh:
            motion = None
        _check_device(image, program.engine.torch_device)
        given = motion
        image = image.detach()
        if self._canvas is not None:
            image, motion = self._canvas.place(image, motion)
        if not self._reuse.remap and not self._fresh:
            motion = self._compose(motion, image)
        control, lasting = self._control(program, image, motion, work)
        ready = time.perf_counter()
        self._fresh = True  # until the step has succeeded: a failed one leaves nothing to reuse
        self._stats = self._measure = self._counts = None
        result = program.engine.step(state, image.contiguous(), motion, control)
        self._fresh, self._counts = not lasting, result.counts
        if not self._reuse.remap and result.counts().keyframe:
            self._since_keyframe = None
        stepped = time.perf_counter()
        outputs = program.unflatten(result.leaves)
        done = time.perf_counter()
        times = Times(started, ready, stepped, done)
        number, pixels, macs = self._frame, self._size[2] * self._size[3] if self._size else 0, self._macs
        dense_macs = program.dense_macs or program.engine.plan.macs
        assert macs is not None  # made with the program
        self._stats, self._measure = (
            None,
            lambda: frame_stats(macs, result.counts(), given, times, number, pixels=pixels, dense_macs=dense_macs),
        )
        self._frame += 1
        return outputs

    def _control(
        self, program: Program, image: Tensor, motion: MotionField | None, work: dict[int, Mask] | None
    ) -> tuple[StepControl, bool]:
        """How to run a frame, and whether the next one may reuse it."""
        keyframe, lasting, tau = self._fresh, True, self._tau
        scene_cut = self._reuse.scene_cut
        plan = program.engine.plan
        self._planned = None
        if work is not None:
            lasting = self._planner is None  # what features stand for is known of planned work only
        elif self._planner is not None:
            self._planned = self._plan_frame(self._planner, image, motion)
            lasting = self._planner.commit(self._planned, image)
            work, keyframe = self._planned.work, self._planned.work is None
            # given work is compared with nothing; values off the grids count as changed whenever they are computed
            tau, scene_cut = (-1.0,) * len(plan.layers), 1.0
        elif self._reuse.execution == "dense" and not keyframe:
            work = {
                index: np.ones((grid.height, grid.width), np.bool_)
                for index, grid in enumerate(plan.grids)
                if index > 0
            }
        control = StepControl(
            keyframe=keyframe,
            rfap=self._reuse.rfap,
            remap=self._reuse.remap,
            input=self._reuse.input_mode,
            tau_input=self._reuse.tau_input,
            tau=tau,
            scene_cut=scene_cut,
            work=work,
            keep_image=self._planner is None,
        )
        return control, lasting

    def _plan_frame(self, planner: Planner, image: Tensor, motion: MotionField | None) -> PlannedFrame:
        planned = None if self._fresh else planner.plan(image, motion)  # None as well: pixels that are not finite
        return planner.whole() if planned is None or planner.is_cut(planned.work_ratio) else planned

    def _prepare(self, image: Tensor) -> tuple[Program, StreamState]:
        if self._program is None or self._state is None or self._size != tuple(image.shape):
            program = self._program_for(image)
            tau = _tau_per_layer(program.engine.plan, self._reuse.tau)
            self._program, self._state, self._tau = program, program.engine.new_state(), tau
            self._macs = WorkCounter(program.engine.plan)
            self._size, self._fresh, self._since_keyframe = tuple(image.shape), True, None
            self._start(program, (image.shape[2], image.shape[3]))
        return self._program, self._state

    def _start(self, program: Program, size: tuple[int, int]) -> None:
        """Makes what remembers earlier frames beside the engine's state."""
        reuse = self._reuse
        self._planner = self._canvas = None
        if reuse.policy == "planned":
            self._planner = Planner(program.engine.plan, reuse.planned, reuse.scene_cut, program.make_test)
        if program.canvas_px:
            self._canvas = Canvas(size, program.canvas_px, reuse.canvas_fill)

    def _compose(self, motion: MotionField | None, image: Tensor) -> MotionField | None:
        if motion is not None:
            earlier = self._since_keyframe or MotionField.zero(image.shape[2], image.shape[3], motion.cell_px)
            self._since_keyframe = accumulate(earlier, motion, image.shape[2], image.shape[3])
        return self._since_keyframe


def _check_image(image: Tensor) -> None:
    if not isinstance(image, torch.Tensor):
        raise ShapeError(f"image is a {type(image).__name__}; expected a float32 tensor of shape (1, C, H, W)")
    if image.dim() != 4 or image.dtype != torch.float32:
        raise ShapeError(f"image is {tuple(image.shape)} {image.dtype}; expected (1, C, H, W) torch.float32")
    if image.shape[0] != 1:
        raise ShapeError(
            f"image has batch {image.shape[0]}; a session runs one frame at a time: make one session per stream"
        )


def _check_device(image: Tensor, expected: torch.device) -> None:
    if image.device.type != expected.type or (expected.index is not None and image.device.index != expected.index):
        move = "image.cpu()" if expected.type == "cpu" else f"image.to('{expected}')"
        raise ShapeError(f"image is on {image.device}; this model was compiled for {expected}: pass {move}")


def _tau_per_layer(plan: Plan, tau: float | Mapping[str, float]) -> tuple[float, ...]:
    if not isinstance(tau, Mapping):
        return tuple(float(tau) for _ in plan.layers)
    names = {layer.name for layer in plan.layers if layer.mode != "view"}
    unknown = sorted(set(tau) - names)
    if unknown:
        raise OptionError(f"tau names {', '.join(unknown)}; the model's layers are listed by model.explain()")
    return tuple(float(tau.get(layer.name, 0.0)) for layer in plan.layers)
