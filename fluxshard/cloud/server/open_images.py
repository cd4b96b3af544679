"""Which images a stream has, from what its greeting asks for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

from fluxshard.cloud.decoding.decoder_process import DecoderProcess
from fluxshard.cloud.decoding.protocol import max_packet_bytes
from fluxshard.cloud.server.images import SparseImages, StreamImages
from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.cloud.server.picture_images import PictureImages
from fluxshard.cloud.server.running.picture_motion import PictureMotion
from fluxshard.cloud.server.served_model import ServedModel
from fluxshard.cloud.wire.jpeg_payload import JpegPayload
from fluxshard.cloud.wire.payload import make_payload
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import WireError
from fluxshard.video.letterbox import Letterbox

_MOST_PICTURE_PIXELS = 4096 * 2304


def open_images(
    hello: pb.Hello,
    model: ServedModel,
    limits: ServerLimits,
    threads: Executor,
    failed: Callable[[Exception], None] = lambda _: None,
) -> StreamImages:
    """The images of a stream.

    Args:
      hello: what the edge asks for.
      model: that the stream runs.
      limits: of the server.
      threads: that videos are decoded in.
      failed: is told of errors in that which no video has caused.

    Raises:
      WireError: a payload that this server does not take, or pictures that are too large.
    """
    size = model.plan.image_size
    if hello.payload == "jpeg":
        codec = JpegPayload(*size)
        return SparseImages(codec, codec.digest)
    if hello.payload == "raw" or hello.payload == "packed":
        return SparseImages(make_payload("raw" if hello.payload == "raw" else "packed", *size))
    if hello.payload != "bitstream":
        raise WireError("this server does not take such payloads")
    picture_size = hello.picture_height, hello.picture_width
    if (
        not all(16 <= length <= 8192 for length in picture_size)
        or picture_size[0] * picture_size[1] > _MOST_PICTURE_PIXELS
    ):
        raise WireError("pictures of this size are not allowed")
    letterbox = Letterbox(picture_size, None if hello.padded else size)
    if letterbox.size != size:
        raise WireError("pictures of this size do not make images of the model's")
    return PictureImages(
        lambda: DecoderProcess(picture_size, vectors=hello.server_plans),
        letterbox,
        min(limits.max_frame_bytes, max_packet_bytes(picture_size)),
        threads,
        PictureMotion(letterbox) if hello.server_plans else None,
        failed,
    )
