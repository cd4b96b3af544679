"""Frames whose work the edge has decided."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from fluxshard.cloud.server.images import Mask
from fluxshard.cloud.server.running.frame_runner import NO_CACHE, OTHER_BASE, FrameWork, RanFrame
from fluxshard.cloud.server.served_model import Encode, ServedModel
from fluxshard.cloud.wire.mask_codec import MaskCodec
from fluxshard.cloud.wire.motion.motion_codec import LevelMotionCodec
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.ordered_session import OrderedSession
from fluxshard.runtime.endpoints.work_order import WorkOrder


class OrderedRunner:
    """See `FrameRunner`. A frame names the one that it builds on: any other in the cache would give wrong features.

    Args:
      model: that the stream runs.
      reuse: options of the edge.
      encode: of answers.
      epoch: of the connection.
      sparse_image: only the pixels of S_0 arrive.

    Raises:
      WireError: the options do not fit the model.
    """

    def __init__(
        self, model: ServedModel, reuse: ReuseOptions, encode: Encode, *, epoch: int, sparse_image: bool
    ) -> None:
        self._model, self._reuse, self._encode = model, reuse, encode
        self._epoch, self._sparse_image = epoch, sparse_image
        self._orders = model.orders(reuse)
        self._motions, self._masks = (
            LevelMotionCodec(model.plan.image_size, self._orders.levels, self._orders.grids),
            MaskCodec(self._orders.shapes),
        )
        self._session: OrderedSession | None = None
        self._whole_bytes = 0  # of a parked session
        self._base = 0  # the frame that the cache stands for

    def read(self, frame: pb.Frame) -> FrameWork:
        """See `FrameRunner.read`."""
        motion = None if frame.keyframe or not frame.motion else self._motions.decode(frame.motion)
        masks = () if frame.keyframe else self._masks.decode(frame.masks)
        return FrameWork(order=WorkOrder(keyframe=frame.keyframe, masks=masks), motion=motion)

    def needs_key(self, frame: pb.Frame) -> str:
        """See `FrameRunner.needs_key`."""
        if frame.keyframe:
            return ""
        if self._session is None or self._session.needs_key:
            return NO_CACHE
        return "" if frame.base_seq == self._base and frame.epoch == self._epoch else OTHER_BASE

    def mask(self, work: FrameWork) -> Mask:
        """See `FrameRunner.mask`."""
        return self._orders.pixels(work.order, work.motion)

    def start(self) -> int:
        """See `FrameRunner.start`."""
        if self._session is None:
            self._session = OrderedSession(self._model.program, self._reuse, sparse_image=self._sparse_image)
        return self._whole_bytes if self._session.parked else self._session.n_bytes

    def park(self) -> int | None:
        """See `FrameRunner.park`."""
        session = self._session
        if session is None or not session.can_park:
            return None
        self._whole_bytes = session.n_bytes
        session.park(threads=1)  # the other streams' frames have the other processors
        return session.n_bytes

    def task(
        self, frame: pb.Frame, work: FrameWork, image: Tensor, motion: MotionField | None
    ) -> Callable[[], RanFrame]:
        """See `FrameRunner.task`."""
        session, wants_answer = self._session, frame.wants_answer
        assert session is not None

        def run() -> RanFrame:
            ran = session.run(image, work.motion, work.order)
            began = time.perf_counter()
            answer = self._encode(ran.outputs) if wants_answer else b""
            return RanFrame(ran=ran, answer=answer, answer_ms=1e3 * (time.perf_counter() - began))

        return run

    def ran(self, frame: pb.Frame) -> None:
        """See `FrameRunner.ran`."""
        self._base = frame.seq

    def interrupt(self) -> None:
        """Does nothing: the edge sends a keyframe."""

    def free(self) -> None:
        """See `FrameRunner.free`."""
        self._session = None
