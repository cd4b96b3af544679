"""Messages of frames whose changed pixels go up: what the server reads is what the edge has."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fluxshard.cloud.edge.payload.sparse import Envelope, SparsePayload, head_of
from fluxshard.cloud.wire.mask_codec import MaskCodec
from fluxshard.cloud.wire.messages import Assembly, read_up
from fluxshard.cloud.wire.motion.motion_codec import LevelMotionCodec
from fluxshard.cloud.wire.raw_payload import RawPayload
from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.work_order import WorkOrder, work_orders
from fluxshard.testing.offload.two_places import SIZE, fake_model, moving_frames

ORDERS = work_orders(fake_model().program.engine.plan, ReuseOptions())
ENVELOPE = Envelope(seq=9, base_seq=8, epoch=3, wants_answer=True, budget_ms=70)
FRAME = list(moving_frames(2))[1]


def delta(share: float) -> WorkOrder:
    rng = np.random.default_rng(0)
    return WorkOrder(keyframe=False, masks=tuple(rng.random(shape) < share for shape in ORDERS.shapes))


@pytest.mark.parametrize("order", [WorkOrder(keyframe=True), delta(0.0), delta(0.2), delta(1.0)])
def test_what_is_read_is_what_was_meant(order: WorkOrder) -> None:
    payload = SparsePayload(RawPayload(*SIZE), ORDERS, SIZE)
    motion = MotionField.uniform(*SIZE, 1, -3)
    first, *rest = [read_up(data) for data in payload.messages(FRAME, order, motion, ENVELOPE)]
    head = first.frame
    assert (head.seq, head.base_seq, head.epoch, head.wants_answer, head.budget_ms) == (9, 8, 3, True, 70)
    assembly = Assembly(head.payload_bytes, head.payload_crc32, (head.motion, head.masks))
    for message in rest:
        assembly.add(message.chunk)
    mask = ORDERS.pixels(order, motion)
    blank = np.zeros((*SIZE, 3), np.uint8)
    pixels = RawPayload(*SIZE).decode(assembly.payload(), mask, blank)
    assert (pixels == np.where(mask[..., None], FRAME.pixels, 0)).all()
    assert head.keyframe is order.keyframe and payload.received is None
    if order.keyframe:
        assert head.motion == head.masks == b""
    else:
        found = LevelMotionCodec(SIZE, ORDERS.levels, ORDERS.grids).decode(head.motion)
        assert isinstance(found, MotionField)
        assert (found.displacement == motion.displacement).all() and (found.valid == motion.valid).all()
        read = MaskCodec(ORDERS.shapes).decode(head.masks)
        assert all((one == other).all() for one, other in zip(read, order.masks, strict=True))


def test_zero_motion_takes_no_bytes() -> None:
    head = head_of(
        delta(0.1), None, ENVELOPE, LevelMotionCodec(SIZE, ORDERS.levels, ORDERS.grids), MaskCodec(ORDERS.shapes)
    )
    assert head.motion == b"" and head.masks


class Halved(RawPayload):
    """A lossy payload: every pixel loses its lowest bit."""

    def encode(self, pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> bytes:
        return super().encode(pixels & 0xFE, mask)

    def digest(self, pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> int:
        return int(pixels[mask].sum())


def test_a_lossy_payload_says_what_the_server_will_see() -> None:
    codec, order = Halved(*SIZE), delta(0.5)
    payload = SparsePayload(codec, ORDERS, SIZE, lossy=codec)
    payload.messages(FRAME, order, None, ENVELOPE)
    mask = ORDERS.pixels(order, None)
    assert payload.received is not None
    assert (payload.received.pixels[mask] == (FRAME.pixels & 0xFE)[mask]).all()
    assert payload.received.digest == int((FRAME.pixels & 0xFE)[mask].sum())


def test_other_frames_need_nothing() -> None:
    payload = SparsePayload(RawPayload(*SIZE), ORDERS, SIZE, bytes_per_pixel=1.5)
    payload.interrupt()
    assert payload.closed_because(FRAME) == "" and payload.forward(FRAME) == []
    assert payload.is_sparse and payload.bytes_per_pixel == 1.5
