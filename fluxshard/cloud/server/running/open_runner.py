"""What runs a stream's frames, from what its greeting asks for."""

from __future__ import annotations

from fluxshard.cloud.server.running.frame_runner import FrameRunner
from fluxshard.cloud.server.running.ordered_runner import OrderedRunner
from fluxshard.cloud.server.running.planning_runner import PlanningRunner
from fluxshard.cloud.server.served_model import ServedModel
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.reuse_codec import decode_reuse
from fluxshard.errors import WireError


def open_runner(hello: pb.Hello, model: ServedModel, epoch: int) -> FrameRunner:
    """What runs the frames of a stream.

    Args:
      hello: what the edge asks for.
      model: that the stream runs.
      epoch: of the connection.

    Raises:
      WireError: options that are not allowed, or that do not go together.
      RefusedError: answers that the model does not have.
    """
    reuse = decode_reuse(hello.reuse)
    if not hello.server_plans:
        encode = model.encoder(hello.answer, hello.confidence, hello.iou)
        return OrderedRunner(model, reuse, encode, epoch=epoch, sparse_image=hello.payload != "bitstream")
    if hello.payload != "bitstream":
        raise WireError("a server plans streams of videos only")
    return PlanningRunner(model, reuse, answer=hello.answer, confidence=hello.confidence, iou=hello.iou)
