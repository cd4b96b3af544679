"""Session: one video stream through one compiled model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ShapeError, StateError
from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.alone import alone
from fluxshard.runtime.checked_image import (
    Picture,
    checked_image,
    checked_motion,
    checked_regions,
    motion_of,
    notice_range,
    placed,
)
from fluxshard.runtime.engines.engine import Inspection, Mask, StepCounts
from fluxshard.runtime.idle import Parking
from fluxshard.runtime.planned.planner import PlannedFrame
from fluxshard.runtime.planned.policy import PlannedPolicy, PlannedProposal
from fluxshard.runtime.reuse.policy import Proposal
from fluxshard.runtime.stats import FrameStats
from fluxshard.runtime.stream import Program, Stream, laid_out, new_canvas, new_policy, propose
from fluxshard.runtime.work_stats import Times, WorkCounter, frame_stats, work_map


class Session(Parking):
    """Runs the frames of one stream, reusing what earlier frames computed. Make one per stream.

    Calls may come from any thread, one at a time: a second one at once is refused with a StateError. `close` waits for
    the one under way.

    Make it with `CompiledModel.session()`; it is a context manager that frees the stream's buffers at the end.

    Args:
      program_for: the program for an image of `(1, C, H, W)`; compiles on the first use of a size.
      reuse: what to reuse.
      keep_all: keep all features for `inspect`, also those that no later frame reads.
    """

    def __init__(
        self, program_for: Callable[[Tensor], Program], reuse: ReuseOptions, *, keep_all: bool = False
    ) -> None:
        super().__init__()
        self._program_for = program_for
        self._given_only = reuse.policy == "planned" and not keep_all
        self._given = self._reuse = reuse
        self._stream: Stream | None = None
        self._frame = 0
        self._stats: FrameStats | None = None
        # of the last frame: on a GPU, counts are fetched on demand
        self._measure: Callable[[], FrameStats] | None = None
        self._counts: Callable[[], StepCounts] | None = None
        self._planned: PlannedFrame | None = None
        self._closed = False
        self._looks_at_range = True

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the stream's buffers, after the call that another thread is in; no frames can be run any more."""
        with self._using:
            if self._stats is None and self._measure is not None:
                with contextlib.suppress(RuntimeError):  # from torch, where the GPU has stopped working
                    self._stats = self._measure()
            self._stream = self._measure = self._counts = self._planned = None
            self._forget_parked()
            self._closed = True

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self._frame} frames, {self.state_bytes / 1e6:.1f} MB"
        return f"{type(self).__name__}({self._given.policy}, {state})"

    @alone
    def reset(self) -> None:
        """Forgets the stream: the next frame is run whole and counts as the first."""
        self._unpark()
        self._frame = 0
        self._stats = self._measure = self._counts = self._planned = None
        stream = self._stream
        if stream is not None:
            stream.policy.reset()  # not a new one: what a GPU has captured belongs to its input cache
            self._stream = replace(stream, canvas=new_canvas(stream.program, self._reuse, stream.size))

    @property
    def reuse(self) -> ReuseOptions:
        """Options of this session's reuse, with the thresholds of the next frame."""
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
        return (0, 0) if self._stream is None or self._stream.canvas is None else self._stream.canvas.origin

    @property
    def planned(self) -> PlannedFrame | None:
        """All work of the last frame, as planned before it ran; None for other policies."""
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

    @alone
    def focus(self, regions: NDArray[np.uint8] | NDArray[np.bool_]) -> None:
        """Says where the objects of the last frame are: planned reuse takes smaller thresholds near them from now on.

        Call it after every frame, with nothing set where there are no objects. Without it, all of the image counts as
        near. Other policies ignore it. `models.detections.regions.regions` makes it from detections.

        Args:
          regions: `(ceil(H / 8), ceil(W / 8))` over cells of 8 px of what the outputs describe, the image or the
            canvas: `options.OBJECT` or True where there is an object, `options.SMALL_OBJECT` for a small one, else 0.

        Raises:
          ShapeError: regions of another shape or dtype.
          StateError: no frame has run.
        """
        stream = self._ran()
        height, width = stream.program.engine.plan.image_size
        stream.policy.focus(checked_regions(regions, (height, width)))

    @alone
    def scale_thresholds(self, scale: float) -> None:
        """Multiplies the thresholds of planned reuse that the session was made with, from the next frame on.

        Args:
          scale: above 0; 1 is what the session was made with.

        Raises:
          OptionError: a scale that is not allowed.
          StateError: the session's policy is not "planned".
        """
        if self._given.policy != "planned":
            raise StateError(
                f"thresholds of policy {self._given.policy!r} cannot be scaled: make the session with policy='planned'"
            )
        planned = self._given.planned.scaled(scale)
        self._reuse = replace(self._given, planned=planned)
        if self._stream is not None and isinstance(self._stream.policy, PlannedPolicy):
            self._stream.policy.set_thresholds(planned)

    @property
    def state_bytes(self) -> int:
        """Memory that the stream's caches take, packed where it is parked; 0 before the first frame, or `prepare`."""
        if self.parked:
            return self.parked_bytes
        return 0 if self._stream is None else self._stream.state.n_bytes + self._stream.policy.n_bytes

    @alone
    def prepare(self, image: Picture) -> None:
        """Takes the memory of a stream now, not at its first frame.

        Args:
          image: as for `run`; only its size counts.

        Raises:
          ShapeError, StateError: as `run`.
        """
        program, taken, _ = self._taken(image, None)
        self._prepare(program, tuple(taken.shape))

    def run(self, image: Picture, motion: MotionField | None = None) -> Any:
        """Runs one frame.

        Args:
          image: a frame of `fluxshard.video`; `(1, C, H, W)` of torch or numpy, floats in the range that the model
            expects, or uint8, whose values p stand for `low + p * (high - low) / 255` with
            `PlannedOptions.pixel_range`, `p / 255` unless it says otherwise; or a picture `(H, W, 3)` uint8, RGB.
            Pictures of OpenCV, BGR, are `picture[..., ::-1]`. Only read; a C++ program takes uint8 as it lies in
            memory. A new size starts the stream anew. Values far above `pixel_range` cause a warning. NaN and infinity
            are computed with as the model would, and never kept as reusable.
          motion: where each cell's content was in the frame of the previous call; None takes that of a frame of a
            video, and otherwise compares at zero displacement.

        Returns:
          what the model returns for this image, as new tensors.

        Raises:
          ShapeError: an image or motion of the wrong shape, dtype or device.
          StateError: the session is closed, or in use in another thread.
        """
        return self._run(image, motion, None)

    def run_whole(self, image: Picture) -> Any:
        """Runs one frame whole: nothing is reused, and the frames after it reuse what it computed.

        Running a frame again, whole, tells what reuse has cost.

        Args:
          image: as for `run`.

        Returns:
          as `run`.

        Raises:
          ShapeError, StateError: as `run`.
        """
        return self._run(image, None, None, whole=True)

    def run_with_work(self, image: Picture, motion: MotionField | None, work: Mapping[int, Mask]) -> Any:
        """Runs one frame and recomputes exactly the given cells, whatever the values say: for benchmarks and planning.

        Args:
          image, motion: as for `run`.
          work: `(H, W)` bool per index of `Plan.grids`; grids left out follow the values.
        """
        if not isinstance(work, Mapping):
            raise ShapeError(
                f"work is a {type(work).__name__}; expected a mask per index of the plan's grids, in a dict"
            )
        return self._run(image, motion, work)

    @alone
    def inspect(self) -> Inspection:
        """Masks, slot maps and features that the last frame left, as copies.

        A stream of planned reuse does not keep features that no later frame reads, unless it was made with `keep_all`.

        Raises:
          StateError: no frame has run.
        """
        return self._inspect()

    @alone
    def recompute_mask(self) -> Mask:
        """S_0 of the last frame: `(H, W)` bool over input pixels."""
        return self._inspect().input_mask()

    @alone
    def work_map(self) -> NDArray[np.float32]:
        """Share of the dense multiply-accumulates that the last frame executed around each 8-px cell.

        Returns:
          `(ceil(H / 8), ceil(W / 8))`, 0..1.
        """
        return work_map(self._ran().program.engine.plan, self._inspect())

    def _inspect(self) -> Inspection:
        stream = self._ran()
        self._unpark()
        return stream.program.engine.inspect(stream.state)

    def _ran(self) -> Stream:
        if self._stream is None or (self._measure is None and self._stats is None):
            raise StateError("session is closed" if self._closed else "session has run no frame yet")
        return self._stream

    @alone
    def propose(self, image: Picture, motion: MotionField | None = None) -> Proposal:
        """What `run` would recompute of a frame; evaluates no layer and changes nothing.

        Args:
          image, motion: as for `run`. An image of another size is proposed as the keyframe that it would be.

        Raises:
          ShapeError, StateError: as `run`.
        """
        program, taken, motion = self._taken(image, motion)
        self._unpark()
        stream, size = self._stream, tuple(taken.shape)
        if stream is None or stream.size != size:
            policy, canvas = new_policy(program, self._reuse), new_canvas(program, self._reuse, size)
            return propose(policy, canvas, taken, motion, None).proposal
        return propose(stream.policy, stream.canvas, taken, motion, None).proposal

    @alone
    def glance(self, image: Picture, motion: MotionField | None = None) -> Mask | None:
        """What `run` would recompute of the coarsest level, for a small part of what `propose` costs.

        Nothing is planned, and nothing is changed: the frame may be run afterwards, or left out.

        Args:
          image, motion: as for `run`.

        Returns:
          `(ceil(H / shard), ceil(W / shard))` bool: the last of `PlannedFrame.shards` that `propose` would give. None
          where the frame would be run whole, as after a cut: of that, the share of these shards alone is taken. None,
          too, for policies that do not plan, on a canvas, and for an image of another size.

        Raises:
          ShapeError, StateError: as `run`.
        """
        _, taken, motion = self._taken(image, motion)
        self._unpark()
        stream = self._stream
        if stream is None or stream.size != tuple(taken.shape) or stream.canvas is not None:
            return None
        if not isinstance(stream.policy, PlannedPolicy):
            return None
        return stream.policy.glance(laid_out(taken), motion)

    def _taken(self, given: Picture, motion: MotionField | None) -> tuple[Program, Tensor, MotionField | None]:
        """The program for a frame, its image and its motion; refuses what cannot be one."""
        image = checked_image(given)
        if self._closed:
            raise StateError("session is closed; make a new one with model.session()")
        motion = checked_motion(motion_of(given, motion), (image.shape[2], image.shape[3]))
        same = self._stream is not None and self._stream.size == tuple(image.shape)
        program = self._stream.program if same and self._stream is not None else self._program_for(image)
        return program, placed(image, given, program.engine.torch_device), motion

    @alone
    def _run(
        self, given: Picture, motion: MotionField | None, work: Mapping[int, Mask] | None, *, whole: bool = False
    ) -> Any:
        started = time.perf_counter()
        program, image, motion = self._taken(given, motion)
        stream = self._prepare(program, tuple(image.shape))
        if self._looks_at_range and image.is_floating_point():  # of a GPU's images at one: looking at it waits for it
            noticed = notice_range(image, self._reuse.planned.pixel_range)
            self._looks_at_range = not noticed and image.device.type == "cpu"
        if whole:
            stream.policy.reset()
        engine = stream.program.engine
        try:
            offer = propose(stream.policy, stream.canvas, image, motion, work)
        except ShapeError:  # of given work: nothing has happened yet
            raise
        except BaseException:
            self._forget(stream)
            raise
        proposal = offer.proposal
        try:
            self._planned = proposal.frame if isinstance(proposal, PlannedProposal) else None
            self._stats = self._measure = self._counts = None
            stream.policy.commit(proposal)
            if stream.canvas is not None and offer.placement is not None:
                stream.canvas.commit(offer.placement)
            ready = time.perf_counter()
            result = engine.step(stream.state, proposal.image, proposal.motion, proposal.control)
        except BaseException:
            self._forget(stream)
            raise
        self._counts = result.counts
        stepped = time.perf_counter()
        outputs = stream.program.unflatten(result.leaves)
        times = Times(started, ready, stepped, time.perf_counter())
        number, pixels, dense_macs = self._frame, image.shape[2] * image.shape[3], stream.program.dense_macs
        counts, moved = result.counts, offer.motion  # and not the outputs and the image, which are the caller's
        self._measure = lambda: frame_stats(
            stream.macs, counts(), moved, times, number, pixels=pixels, dense_macs=dense_macs or engine.plan.macs
        )
        self._frame += 1
        return outputs

    def _forget(self, stream: Stream) -> None:
        """A frame has failed: nothing of it, and nothing before it, is reused."""
        self._planned = self._stats = self._measure = self._counts = None
        stream.policy.reset()

    def _prepare(self, program: Program, size: tuple[int, ...]) -> Stream:
        self._unpark()
        if self._stream is None or self._stream.size != size:
            plan, state = program.engine.plan, program.engine.new_state(given=self._given_only)
            policy, canvas = new_policy(program, self._reuse), new_canvas(program, self._reuse, size)
            self._stream = Stream(program, state, policy, canvas, WorkCounter(plan), size)
        return self._stream
