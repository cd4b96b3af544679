"""Records the content of a clip: proposals for caches of every age, and the bytes that would travel.

The cache of age a at frame t is that of an endpoint that ran every frame up to t - a and none since. Only image tests
run; the network runs once a frame, whole, to find the objects that the tests are focused on: an endpoint knows those of
the frame that it ran last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

import fluxshard
from fluxshard import video
from fluxshard.cloud.edge.payload.sparse import Envelope, head_of
from fluxshard.cloud.wire.mask_codec import MaskCodec
from fluxshard.cloud.wire.motion.motion_codec import LevelMotionCodec
from fluxshard.cloud.wire.payload import make_payload
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import EvaluationError, VideoError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.global_motion import global_shift
from fluxshard.evaluate.offload.content.recorded_content import RecordedContent
from fluxshard.models.detections.regions import regions
from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import cloud_policy
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.offload.work_features import work_features
from fluxshard.runtime.reuse.policy import Proposal
from fluxshard.runtime.stream import Program
from fluxshard.video.frame import Frame
from fluxshard.video.h264.stream_encoder import StreamEncoder

AGES = (*range(1, 13), 16, 24, 32)
Regions = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOptions:
    """What is recorded of a clip.

    Attributes:
      reuse: policy and thresholds, of both endpoints.
      ages: of caches, in captured frames; rising, from 1.
      fps: largest rate; frames beyond are dropped, as a camera of that rate would not have captured them.
      max_frames: of the clip; None for all.
      motion: "blocks" is that of the video; "none" compares at zero displacement; "global" moves everything by the
        frame's `global_shift`.
    """

    reuse: ReuseOptions
    ages: tuple[int, ...] = AGES
    fps: float = 30.0
    max_frames: int | None = None
    motion: Literal["blocks", "none", "global"] = "blocks"


@torch.inference_mode()
def record_content(
    clip: Clip,
    network: CompiledNetwork,
    options: RecordingOptions,
    on_frame: Callable[[int, int], None] = lambda _done, _all: None,
) -> RecordedContent:
    """Records a clip. The letterboxed pictures are encoded as H.264 first, and all payloads are those of its pictures.

    Args:
      clip: to record.
      network: compiled without a canvas, for the size of image.
      options: what is recorded.
      on_frame: called with the number of frames done and of all frames.

    Raises:
      EvaluationError: the clip cannot be read, or has fewer than two frames.
    """
    frames = _frames_of(clip, network.shape, options)
    model = network.model()
    program = model.specialise(frames[0].planes).program
    marked = _regions_of(frames, network, options.reuse) if options.reuse.policy == "planned" else None
    ruler = _Ruler(program, network.shape, options.reuse)
    shape = (len(frames), len(options.ages))
    packed, pixels, order = (np.full(shape, np.nan) for _ in range(3))
    work: NDArray[np.float64] | None = None
    policy = cloud_policy(program, options.reuse, sparse_image=True)

    def step(index: int) -> None:
        """The endpoint runs a frame right after the one before."""
        mirror = Mirror(policy, network.shape)
        mirror.advance(frames[index].motion)
        mirror.commit(mirror.propose(frames[index].planes))
        if marked is not None:
            mirror.focus(marked[index])

    for ran in range(len(frames)):
        step(ran)
        mirror = Mirror(policy, network.shape)  # of the same policy, which proposals do not change
        for frame in range(ran + 1, min(len(frames), ran + options.ages[-1] + 1)):
            mirror.advance(frames[frame].motion)
            if frame - ran not in options.ages:
                continue
            column = options.ages.index(frame - ran)
            proposal = mirror.propose(frames[frame].planes)
            features = work_features(proposal)
            work = np.full((*shape, len(features)), np.nan) if work is None else work
            work[frame, column] = features
            pixels[frame, column] = proposal.input_cells
            order[frame, column], packed[frame, column] = ruler.sizes(frames[frame], proposal, proposal.motion)
        on_frame(ran + 1, len(frames))
    assert work is not None  # there are two frames
    packets = np.array([sum(len(packet.data) for packet in frame.packets) for frame in frames], np.float64)
    return RecordedContent(
        name=clip.name, ages=options.ages, work=work, pixels=pixels, order_bytes=order, packed_bytes=packed,
        packed_key_bytes=np.array([ruler.whole_bytes(frame) for frame in frames], np.float64),
        packet_bytes=packets, key_bytes=_keyframe_bytes(frames, network.shape), size=network.shape,
        facts={
            "task": network.loaded.task, "policy": options.reuse.policy, "plan": program.engine.plan.digest(),
            "fps": options.fps, "motion": options.motion, "packets": "encoded at the image's size",
            "focus": "none" if marked is None else "whole frames", "version": fluxshard.__version__,
        },
    )  # fmt: skip


class _Ruler:
    """Measures what would travel of a frame."""

    def __init__(self, program: Program, size: tuple[int, int], reuse: ReuseOptions) -> None:
        self._orders = work_orders(program.engine.plan, reuse)
        self._motion, self._masks = (
            LevelMotionCodec(size, self._orders.levels, self._orders.grids),
            MaskCodec(self._orders.shapes),
        )
        self._packed = make_payload("packed", *size)
        self._size = size

    def sizes(self, frame: Frame, proposal: Proposal, motion: Motion | None) -> tuple[int, int]:
        """Bytes of the head and of the packed pixels."""
        order = self._orders.of(proposal)
        envelope = Envelope(seq=frame.index + 1, base_seq=frame.index, epoch=1, wants_answer=True, budget_ms=0)
        head = pb.Up(frame=head_of(order, motion, envelope, self._motion, self._masks))
        pixels = self._packed.encode(frame.pixels, self._orders.pixels(order, motion))
        return len(head.SerializeToString()), len(pixels)

    def whole_bytes(self, frame: Frame) -> int:
        """Bytes of all pixels, packed."""
        return len(self._packed.encode(frame.pixels, np.ones(self._size, np.bool_)))


def _frames_of(clip: Clip, size: tuple[int, int], options: RecordingOptions) -> list[Frame]:
    fps = options.fps if clip.source.is_file() else None  # pictures of a directory have no times
    try:
        with video.open(
            clip.source, size=size, max_frames=options.max_frames, fps=fps, vectors="encode", packets=True
        ) as source:
            frames = list(source)
    except VideoError as error:
        raise EvaluationError(f"clip {clip.name!r}: {error}") from error
    if len(frames) < 2:
        raise EvaluationError(f"clip {clip.name!r} has one frame; content is recorded from two or more")
    return [_moved_by(frame, options.motion) for frame in frames]


def _moved_by(frame: Frame, motion: str) -> Frame:
    """The frame with the motion that a method sees."""
    if motion == "blocks" or frame.motion is None:
        return frame
    seen = None if motion == "none" else _uniform(frame.motion, frame.pixels.shape)
    return replace(frame, motion=seen)


def _uniform(motion: MotionField, shape: tuple[int, ...]) -> MotionField:
    dy, dx = global_shift(motion)
    return MotionField.uniform(shape[0], shape[1], dy, dx, motion.cell_px)


def _regions_of(frames: Sequence[Frame], network: CompiledNetwork, reuse: ReuseOptions) -> list[Regions]:
    """Where the whole network sees objects, per frame."""
    planned, found = reuse.planned, []
    with network.model().session() as session:
        for frame in frames:
            session.reset()
            outputs = session.run(frame.planes)
            objects = network.detect(outputs, 0, confidence=planned.region_confidence)
            found.append(regions(objects, planned.region_confidence, planned.small_px))
    return found


def _keyframe_bytes(frames: Sequence[Frame], size: tuple[int, int]) -> NDArray[np.float64]:
    """Bytes of every frame as a keyframe of the video."""
    encoder, found = StreamEncoder(size), []
    for frame in frames:
        encoder.request_keyframe()
        found.append(float(len(encoder.encode(frame.pixels).packet.data)))
    return np.array(found)
