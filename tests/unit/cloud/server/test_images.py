"""Images from payloads: S_0 as it came, and nothing of anybody else around it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from fluxshard.cloud.server.images import SparseImages
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.raw_payload import RawPayload
from fluxshard.errors import WireError

SIZE = (4, 6)


def test_the_pixels_of_the_mask() -> None:
    codec, rng = RawPayload(*SIZE), np.random.default_rng(0)
    images = SparseImages(codec)
    pixels, mask = rng.integers(0, 256, (*SIZE, 3), np.uint8), rng.random(SIZE) < 0.5
    frame = pb.Frame(seq=1)
    images.announce(frame)
    assert images.is_sparse and images.can_have(frame) and images.has(frame) and images.digest == 0
    with ThreadPoolExecutor(1) as threads:
        image = asyncio.run(images.image(frame, codec.encode(pixels, mask), lambda: mask, threads))
        expected = np.where(mask[..., None], pixels, 0).transpose(2, 0, 1)[None]
        assert image.dtype == torch.uint8 and np.array_equal(image.numpy(), expected) and image.shape == (1, 3, *SIZE)
        with pytest.raises(WireError, match="its mask asks for"):
            asyncio.run(images.image(frame, b"abc", lambda: np.zeros(SIZE, np.bool_), threads))
    images.close()


def test_a_lossy_payload_says_what_it_has_decoded() -> None:
    images = SparseImages(RawPayload(*SIZE), lambda pixels, mask: int(pixels[mask].sum()))
    with ThreadPoolExecutor(1) as threads:
        asyncio.run(images.image(pb.Frame(), b"\x01" * 72, lambda: np.ones(SIZE, np.bool_), threads))
    assert images.digest == 72


def test_a_packet_is_not_taken() -> None:
    with pytest.raises(WireError, match="another payload"):
        SparseImages(RawPayload(*SIZE)).packet(pb.Packet())
