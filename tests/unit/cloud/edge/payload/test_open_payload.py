"""Payloads by name."""

from __future__ import annotations

import pytest

from fluxshard.cloud.edge.options import PayloadName
from fluxshard.cloud.edge.payload.bitstream import BitstreamPayload
from fluxshard.cloud.edge.payload.open_payload import open_payload
from fluxshard.cloud.edge.payload.sparse import SparsePayload
from fluxshard.cloud.edge.payload.video_alone import VideoAlone
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.testing.offload.two_places import SIZE, fake_model, moving_frames

ORDERS = work_orders(fake_model().program.engine.plan, ReuseOptions())


@pytest.mark.requires_compiler
@pytest.mark.parametrize(
    ("name", "kind", "most"),
    [
        ("raw", SparsePayload, 3.0),
        ("packed", SparsePayload, 2.0),
        ("jpeg", SparsePayload, 1.0),
        ("bitstream", BitstreamPayload, 0.5),
    ],
)
def test_made_by_name(name: PayloadName, kind: type, most: float) -> None:
    asked: list[int] = []
    payload = open_payload(name, ORDERS, SIZE, lambda: asked.append(1))
    assert isinstance(payload, kind) and payload.is_sparse is (kind is SparsePayload)
    assert 0 < payload.bytes_per_pixel <= most
    for frame in moving_frames(1):
        assert payload.known_bytes(frame) is None
    payload.interrupt()
    assert asked == ([] if payload.is_sparse else [1])


def test_of_a_server_that_plans_only_the_video_goes_up() -> None:
    assert isinstance(open_payload("bitstream", ORDERS, SIZE, lambda: None, server_plans=True), VideoAlone)
