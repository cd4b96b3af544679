"""Which images a stream has, from what its greeting asks for."""

from __future__ import annotations

from fluxshard.cloud.server.images import SparseImages, StreamImages
from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.cloud.server.served_model import ServedModel
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.raw_payload import RawPayload
from fluxshard.errors import WireError


def open_images(hello: pb.Hello, model: ServedModel, limits: ServerLimits) -> StreamImages:
    """The images of a stream.

    Raises:
      WireError: a payload that this server does not take, or pictures that are too large.
    """
    height, width = model.plan.image_size
    if hello.payload == "raw":
        return SparseImages(RawPayload(height, width))
    raise WireError("this server does not take such payloads")
