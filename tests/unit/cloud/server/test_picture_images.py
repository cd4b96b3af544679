"""Pictures of a stream's video: whatever happens to one, nobody waits for it in vain, and what waits has limits."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.decoding.shared_vectors import VECTOR, PacketVectors, VectorState
from fluxshard.cloud.server.images import Mask
from fluxshard.cloud.server.picture_images import PictureImages
from fluxshard.cloud.wire.messages import MIN_CHUNK_BYTES
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import DecoderError, WireError
from fluxshard.video.letterbox import Letterbox

SIZE = (16, 32)
MIB = 1 << 20
NO_FILES = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


class FakeDecoder:
    """See `Decoder`: gives pictures of one value, their number; fails as often as it has errors."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.vectors: PacketVectors | None = None
        self.gate = threading.Event()
        self.gate.set()

    def decode(self, number: int, data: bytes, *, keyframe: bool, wanted: bool) -> NDArray[np.uint8] | None:
        self.gate.wait(60)
        if self.errors:
            raise self.errors.pop(0)
        return np.full((*SIZE, 3), number, np.uint8) if wanted else None

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


class FailingMotion:
    """See `PictureMotion`: fails once."""

    def __init__(self, error: Exception) -> None:
        self._errors = [error]

    def decoded(self, found: PacketVectors) -> None:
        if self._errors:
            raise self._errors.pop()

    def wanted(self) -> None:
        return None

    def ran(self) -> None:
        pass


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as made:  # in order
        yield made


def run(use: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(30):
            await use()

    asyncio.run(in_time())


def images_of(decoder: Any, threads: Executor, **given: Any) -> PictureImages:
    values: dict[str, Any] = {"max_packet_bytes": 64 * MIB, "make_decoder": lambda: decoder, **given}
    return PictureImages(letterbox=Letterbox(SIZE, SIZE), threads=threads, **values)


def packet(number: int, data: bytes = b"data", **given: Any) -> pb.Packet:
    return pb.Packet(**{"number": number, "keyframe": number % 2 == 0, "total_bytes": len(data), "data": data, **given})


def no_mask() -> Mask:
    raise AssertionError("a video has no mask")


async def picture(images: PictureImages, number: int, threads: Executor) -> Tensor:
    """The picture of a packet that comes now."""
    frame = pb.Frame(seq=number + 1, picture=number)
    images.announce(frame)
    assert images.can_have(frame)
    assert images.packet(packet(number)) and images.has(frame)
    return await images.image(frame, b"", no_mask, threads)


ERRORS = [NO_FILES, MemoryError(), ValueError("a bug"), DecoderError("the decoder's process died")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("where", ["start", "decode", "motion"])
def test_any_error_ends_the_wait_for_a_picture_and_the_next_keyframe_goes_on(
    error: Exception, where: str, threads: Executor
) -> None:
    """Symptom: a server without files to open let its edges wait for a minute, and gave them signs of life."""
    decoder, told = FakeDecoder(), list[Exception]()
    if where == "motion":
        decoder.vectors = PacketVectors(state=VectorState.UNKNOWN, vectors=np.zeros(0, VECTOR))
    decoder.errors = [error] if where == "decode" else []
    starts = [error, error] if where == "start" else []  # when the stream is opened, and for its first packet

    def make_decoder() -> FakeDecoder:
        if starts:
            raise starts.pop()
        return decoder

    async def use() -> None:
        motion = FailingMotion(error) if where == "motion" else None
        images = images_of(decoder, threads, make_decoder=make_decoder, motion=motion, failed=told.append)
        with pytest.raises(DecoderError):
            await picture(images, 0, threads)
        assert told == [error] and not starts
        with pytest.raises(WireError, match="the video was interrupted"):
            await picture(images, 1, threads)
        assert ((await picture(images, 2, threads)) == 2).all()
        assert ((await picture(images, 3, threads)) == 3).all()
        images.close()

    run(use)
    assert told == [error]


def test_what_a_video_has_caused_is_not_reported(threads: Executor) -> None:
    told = list[Exception]()

    async def use() -> None:
        decoder = FakeDecoder(WireError("the packet cannot be decoded"))
        images = images_of(decoder, threads, failed=told.append)
        with pytest.raises(WireError, match="cannot be decoded"):
            await picture(images, 0, threads)
        images.close()

    run(use)
    assert told == []


@pytest.mark.parametrize("n_bytes", [0, 2, MIN_CHUNK_BYTES - 1])
def test_packets_come_in_parts_of_some_size(n_bytes: int, threads: Executor) -> None:
    """In parts of two bytes, a packet would take twenty-five times its size."""

    async def use() -> None:
        images = images_of(FakeDecoder(), threads)
        data, least = bytes(3 * MIN_CHUNK_BYTES), MIN_CHUNK_BYTES
        assert not images.packet(packet(0, data[:least], total_bytes=2 * least + n_bytes))
        with pytest.raises(WireError, match="smaller than 1024 bytes"):
            images.packet(packet(0, data[:n_bytes], total_bytes=3 * least, offset=least))
        assert not images.packet(packet(0, data[:least], total_bytes=2 * least + 7, offset=least))
        assert images.packet(packet(0, data[:7], total_bytes=2 * least + 7, offset=2 * least))  # the last may be small
        images.close()

    run(use)


def test_packets_that_wait_have_few_bytes_together(threads: Executor) -> None:
    """256 of 16 MiB each were allowed: 4 GiB of one stream."""

    async def use() -> None:
        decoder = FakeDecoder()
        decoder.gate.clear()
        images = images_of(decoder, threads)
        for number in range(32):
            assert images.packet(packet(number, bytes(MIB)))
        with pytest.raises(WireError, match="faster than it can be decoded"):
            images.packet(packet(32, b"x"))
        decoder.gate.set()
        while images._waiting:
            await asyncio.sleep(0.001)
        for number in range(33, 65):  # what was decoded waits no more
            assert images.packet(packet(number, bytes(MIB)))
        images.close()

    run(use)


def test_one_packet_may_have_all_that_is_allowed(threads: Executor) -> None:
    async def use() -> None:
        images = images_of(FakeDecoder(), threads, max_packet_bytes=40 * MIB)
        assert images.packet(packet(0, bytes(40 * MIB)))
        with pytest.raises(WireError, match="larger than allowed"):
            images.packet(packet(1, bytes(MIB), total_bytes=40 * MIB + 1))
        images.close()

    run(use)
