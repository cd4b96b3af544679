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
from fluxshard.ir.params import Conv2d, ConvTranspose2d
from fluxshard.ir.plan import Plan
from fluxshard.motion import CELL_PX, MotionField, accumulate, cells
from fluxshard.options import ReuseOptions
from fluxshard.runtime.engine import Engine, Inspection, Mask, StepControl, StepCounts, StreamState, Unflatten
from fluxshard.runtime.stats import FrameStats


@dataclass(frozen=True, slots=True)
class Program:
    """A plan that can be run: what a session needs for one image size.

    Attributes:
      engine: runs frames.
      unflatten: leaves to the structure that the model returns.
    """

    engine: Engine
    unflatten: Unflatten


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
        self._state = self._program = self._measure = None
        self._closed = True

    def reset(self) -> None:
        """Forgets the stream: the next frame is run whole and counts as the first."""
        self._fresh, self._since_keyframe, self._frame = True, None, 0
        self._stats = self._measure = None

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
        if not self._reuse.remap and not self._fresh:
            motion = self._compose(motion, image)
        control = StepControl(
            keyframe=self._fresh,
            rfap=self._reuse.rfap,
            remap=self._reuse.remap,
            input=self._reuse.input,
            tau_input=self._reuse.tau_input,
            tau=self._tau,
            scene_cut=self._reuse.scene_cut,
            work=work,
        )
        ready = time.perf_counter()
        self._fresh = True  # until the step has succeeded: a failed one leaves nothing to reuse
        self._stats = self._measure = None
        result = program.engine.step(state, image.detach().contiguous(), motion, control)
        self._fresh = False
        if not self._reuse.remap and result.counts().keyframe:
            self._since_keyframe = None
        stepped = time.perf_counter()
        outputs = program.unflatten(result.leaves)
        done = time.perf_counter()
        times = _Times(started, ready, stepped, done)
        plan, number = program.engine.plan, self._frame
        self._stats, self._measure = None, lambda: _frame_stats(plan, result.counts(), given, times, number)
        self._frame += 1
        return outputs

    def _prepare(self, image: Tensor) -> tuple[Program, StreamState]:
        if self._program is None or self._state is None or self._size != tuple(image.shape):
            program = self._program_for(image)
            tau = _tau_per_layer(program.engine.plan, self._reuse.tau)
            self._program, self._state, self._tau = program, program.engine.new_state(), tau
            self._size, self._fresh, self._since_keyframe = tuple(image.shape), True, None
        return self._program, self._state

    def _compose(self, motion: MotionField | None, image: Tensor) -> MotionField | None:
        if motion is not None:
            earlier = self._since_keyframe or MotionField.zero(image.shape[2], image.shape[3], motion.cell_px)
            self._since_keyframe = accumulate(earlier, motion, image.shape[2], image.shape[3])
        return self._since_keyframe


@dataclass(frozen=True, slots=True)
class _Times:
    """Moments of a frame in seconds: the call, ready to step, stepped, done."""

    started: float
    ready: float
    stepped: float
    done: float


def _frame_stats(plan: Plan, counts: StepCounts, motion: MotionField | None, times: _Times, frame: int) -> FrameStats:
    edge_pre_ms, post_ms = (times.ready - times.started) * 1e3, (times.done - times.stepped) * 1e3
    # a device goes on after the call has returned: then what it measured counts
    inference_ms = max((times.stepped - times.ready) * 1e3, counts.total_ms)
    return FrameStats(
        frame=frame,
        keyframe=counts.keyframe,
        recompute_ratio=counts.input_cells / plan.grids[0].cells,
        compute_ratio=float(executed_macs(plan, counts) / plan.macs) if plan.macs else 0.0,
        tx_ratio=0.0,
        latency_ms=edge_pre_ms + inference_ms + post_ms,
        edge_pre_ms=edge_pre_ms,
        server_pre_ms=0.0,
        transmission_ms=0.0,
        inference_ms=inference_ms,
        post_ms=post_ms,
        overhead_ms=max(0.0, inference_ms - counts.conv_ms - counts.island_ms) if counts.conv_ms else 0.0,
        motion_source="none" if motion is None else "given",
        placement="edge",
        bytes_sent=0,
        layers_executed=int(counts.executed.sum()),
    )


def executed_macs(plan: Plan, counts: StepCounts) -> float:
    """Multiply-accumulates of the cells that a step evaluated; islands count whole when they run."""
    total = 0.0
    for layer, evaluated, executed in zip(plan.layers, counts.candidates, counts.executed, strict=True):
        if layer.macs and executed:
            total += layer.macs * (evaluated / plan.grid_of(layer.output).cells if layer.mode == "sparse" else 1.0)
    return total


def work_map(plan: Plan, inspection: Inspection) -> NDArray[np.float32]:
    """See `Session.work_map`."""
    height, width = plan.image_size
    rows, columns = cells(height, CELL_PX), cells(width, CELL_PX)
    centre_y = np.minimum(np.arange(rows) * CELL_PX + CELL_PX // 2, height - 1)
    centre_x = np.minimum(np.arange(columns) * CELL_PX + CELL_PX // 2, width - 1)
    total = np.zeros((rows, columns), np.float32)
    macs = 0
    for layer in plan.layers:
        if not isinstance(layer.params, Conv2d | ConvTranspose2d) or layer.mode != "sparse":
            continue
        candidates = inspection.candidates(layer.name)
        assert candidates is not None
        share = candidates.astype(np.float32)
        grid = plan.grid_of(layer.output)
        # a motion cell sees the mean over the feature cells inside it, or the feature cell that holds its centre
        step_y, step_x = _per_cell(grid.height, height), _per_cell(grid.width, width)
        for axis, (step, n) in enumerate(((step_y, rows), (step_x, columns))):
            if step > 1:
                share = np.add.reduceat(share, np.minimum(np.arange(n) * step, share.shape[axis] - 1), axis=axis)
                share = np.minimum(share / step, 1.0)
            else:
                centre, size = (centre_y, height) if axis == 0 else (centre_x, width)
                share = np.take(share, np.minimum(centre * share.shape[axis] // size, share.shape[axis] - 1), axis=axis)
        total += layer.macs * share
        macs += layer.macs
    return (total / np.float32(max(macs, 1))).astype(np.float32)


def _per_cell(n_cells: int, pixels: int) -> int:
    return max(1, round(n_cells * CELL_PX / pixels))


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
