"""What an edge sends, by the payload's name."""

from __future__ import annotations

from collections.abc import Callable

from fluxshard.cloud.edge.options import PayloadName
from fluxshard.cloud.edge.payload.bitstream import BitstreamPayload
from fluxshard.cloud.edge.payload.sparse import Payload, SparsePayload
from fluxshard.cloud.edge.payload.video_alone import VideoAlone
from fluxshard.cloud.wire.jpeg_payload import JpegPayload
from fluxshard.cloud.wire.payload import make_payload
from fluxshard.runtime.endpoints.work_order import WorkOrders

_BYTES_PER_PIXEL = {"raw": 3.0, "packed": 1.3, "jpeg": 0.3}  # before the first frame


def open_payload(
    name: PayloadName,
    orders: WorkOrders,
    size: tuple[int, int],
    request_keyframe: Callable[[], object],
    *,
    server_plans: bool = False,
) -> Payload:
    """Makes the messages of a stream's frames.

    Args:
      name: of the payload.
      orders: of the stream.
      size: (H, W) of the image.
      request_keyframe: asks whoever encodes the video for a keyframe.
      server_plans: nothing is said of the work; bitstream only.
    """
    if name == "bitstream":
        if server_plans:
            return VideoAlone(request_keyframe)
        return BitstreamPayload(orders, size, request_keyframe)
    if name == "jpeg":
        codec = JpegPayload(*size)
        return SparsePayload(codec, orders, size, bytes_per_pixel=_BYTES_PER_PIXEL[name], lossy=codec)
    return SparsePayload(make_payload(name, *size), orders, size, bytes_per_pixel=_BYTES_PER_PIXEL[name])
