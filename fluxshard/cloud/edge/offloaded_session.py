"""A session in two places, as its user sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.edge.caches.last_seen import LastSeen
from fluxshard.cloud.edge.caches.planned_there import PlannedThere
from fluxshard.cloud.edge.caches.server_cache import ServerCache
from fluxshard.cloud.edge.caches.told_cache import ToldCache
from fluxshard.cloud.edge.cloud_endpoint import CloudEndpoint
from fluxshard.cloud.edge.connection.link import CloudLink, LinkState
from fluxshard.cloud.edge.edge_runner import EdgeRunner
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.edge.frames import checked_frame, frame_of, frame_stats
from fluxshard.cloud.edge.options import OffloadOptions
from fluxshard.cloud.edge.payload.open_payload import open_payload
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.edge.session_parts import DetectionAnswers, LocalModel, Size, VideoPackets
from fluxshard.cloud.edge.two_places import TwoPlaces, TwoPlacesAnswer
from fluxshard.cloud.wire.answer_codec import OutputsCodec
from fluxshard.cloud.wire.detections_codec import decode_detections
from fluxshard.cloud.wire.messages import PROTOCOL, budget_ms
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.reuse_codec import encode_reuse
from fluxshard.errors import OptionError, StateError, warn
from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.checked_image import checked_regions
from fluxshard.runtime.endpoints.engine_stream import on_cpu
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import cloud_policy, edge_policy
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.hedge import HedgeBudget
from fluxshard.runtime.offload.transport import Transport
from fluxshard.runtime.offload.work_features import work_features
from fluxshard.runtime.planned.planner import PlannedFrame
from fluxshard.runtime.planned.policy import PlannedProposal
from fluxshard.runtime.stats import FrameStats
from fluxshard.runtime.stream import Program
from fluxshard.runtime.work_stats import predicted_work_map
from fluxshard.video.frame import Frame
from fluxshard.video.letterbox import Letterbox

_IOU = 0.7  # of objects that a server focuses on, where nobody says otherwise
_MOST_UNLIKE = 2  # frames that the server has decoded to other pixels, after which a lossy payload is given up


class OffloadedSession:
    """Runs the frames of one stream on the edge or on a server. Not thread-safe; make one per stream.

    Made by `fluxshard.offload`; it is a context manager that ends the link and frees the stream's buffers. Without a
    server, or while there is none, all frames run on the edge.

    Args:
      model_for: the model for a size of image; compiles on the first use of a size.
      reuse: what to reuse, on both endpoints.
      transport: to the server.
      options: how to share.
      video: what the packets of frames have in common; for payload "bitstream".
      detections: how outputs become detections; for answer "detections".
      on_link: is told, in another thread, when the link opens or is lost.
      on_settled: is given the record of every frame when nothing of it is under way any more, in order of frames.
    """

    def __init__(
        self,
        model_for: Callable[[Size], LocalModel],
        reuse: ReuseOptions,
        transport: Transport,
        options: OffloadOptions | None = None,
        *,
        video: VideoPackets | None = None,
        detections: DetectionAnswers | None = None,
        on_link: Callable[[LinkState], None] = lambda _: None,
        on_settled: Callable[[PlacementRecord], None] = lambda _: None,
    ) -> None:
        self._model_for, self._reuse, self._transport = model_for, reuse, transport
        self._options = options or OffloadOptions()
        if not reuse.remap or reuse.execution == "dense":
            raise OptionError("remap=False and execution='dense' are ablations of a session in one place")
        if self._options.answer == "detections" and detections is None:
            raise OptionError("answer (='detections') needs a model whose head is known; use answer='outputs'")
        if self._options.payload == "bitstream" and video is None:
            raise OptionError("payload (='bitstream') needs a video that was opened with packets=True")
        self._server_plans = self._options.server_plans(reuse)
        if self._options.server_work == "server" and not self._server_plans:
            raise OptionError(
                f"server_work (='server') is for planned reuse, and policy is {reuse.policy!r}: use server_work='edge'"
            )
        self._video, self._detections = video, detections if self._options.answer == "detections" else None
        self._iou = _IOU if detections is None else detections.iou
        self._on_link, self._on_settled = on_link, on_settled
        self._size: Size | None = None
        self._program: Program | None = None
        self._link: CloudLink | None = None
        self._places: TwoPlaces | None = None
        self._runner: EdgeRunner | None = None
        self._answer: TwoPlacesAnswer | None = None
        self._answer_size: Size | None = None  # of its frame
        self._frames = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"OffloadedSession({'closed, ' if self._closed else ''}{self._frames} frames)"

    def __enter__(self) -> OffloadedSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the link and frees the stream's buffers; the session cannot run frames any more."""
        self._end()
        self._closed = True

    def reset(self) -> None:
        """Forgets the stream: the next frame is run whole, wherever it runs."""
        self._end()
        self._answer = None

    @property
    def reuse(self) -> ReuseOptions:
        """Options of reuse, of both endpoints."""
        return self._reuse

    @property
    def link(self) -> LinkState:
        """What is known of the link to the server."""
        return LinkState() if self._link is None else self._link.state

    @property
    def record(self) -> PlacementRecord:
        """Where the last frame went, and why.

        Raises:
          StateError: no frame has run.
        """
        return self._last().record

    @property
    def origin(self) -> tuple[int, int]:
        """(0, 0): there is no canvas in two places."""
        return 0, 0

    @property
    def planned(self) -> PlannedFrame | None:
        """All work of the last frame on the endpoint that answered it, as planned here; None where it was not."""
        proposal = self._last().proposal
        return proposal.frame if isinstance(proposal, PlannedProposal) else None

    @property
    def state_bytes(self) -> int:
        """Memory that the edge's caches take; 0 before the first frame."""
        return 0 if self._runner is None else self._runner.n_bytes

    @property
    def stats(self) -> FrameStats:
        """Measurements of the last frame.

        Raises:
          StateError: no frame has run.
        """
        answer = self._last()
        assert self._answer_size is not None
        return frame_stats(answer, self._answer_size)

    def run(self, image: Frame | Tensor, motion: MotionField | None = None) -> Any:
        """Answers a frame.

        Args:
          image: a frame of `fluxshard.video`, with its motion and packets; or an image `(1, 3, H, W)` uint8, or
            float32 in whole steps of 1/255, for payloads that need no packets. Another size starts the stream anew.
          motion: of an image; None compares at zero displacement.

        Returns:
          what `Session.run` returns for its image, on the CPU; or detections, where the options say so.

        Raises:
          ShapeError: an image of the wrong shape or dtype.
          StateError: the session is closed.
        """
        if self._closed:
            raise StateError("session is closed; make a new one with fluxshard.offload()")
        frame = image if isinstance(image, Frame) else frame_of(image, motion, self._frames)
        self._frames += 1
        size = (frame.pixels.shape[0], frame.pixels.shape[1])
        if self._places is not None and self._places.cloud.unlike_pixels >= _MOST_UNLIKE:
            warn("the server decodes JPEG to other pixels than this machine: the stream goes on with payload 'packed'")
            self._options = replace(self._options, payload="packed")
            self._end()
        if self._size != size:
            self._end()
            self._start(size, frame)
        assert self._places is not None
        self._answer, self._answer_size = self._places.run(frame), size
        return self._answer.outputs

    def glance(self, image: Tensor, motion: MotionField | None = None) -> NDArray[np.bool_] | None:
        """See `Session.glance`: of the endpoint that has answered the last frame.

        Where the server plans, it is of a cache that has the last answered frame whole.

        Args:
          image: of a frame, as for `run`.
          motion: since the last frame that was run; frames that were skipped are in it.
        """
        if self._places is None or self._size != tuple(image.shape[2:]):
            return None
        assert self._runner is not None
        return self._places.glance(image.to(self._runner.device), motion)

    def changed(self) -> NDArray[np.bool_] | None:
        """Shards of the coarsest level that the last frame recomputed, for `ResultCarrier`.

        Where the server plans, it is those that differ from the last answered frame before. These are looked for once
        somebody has asked for them, or for a `glance`.

        Returns:
          `(ceil(H / shard), ceil(W / shard))` bool; None where the frame was run whole, or that is not known.
        """
        planned = self._last().proposal
        if self._server_plans:
            return None if self._places is None else self._places.changed()
        return planned.frame.coarsest if isinstance(planned, PlannedProposal) else None

    def skip(self, frame: Frame) -> None:
        """Takes a frame that is not run, since its caller has the result; see `ResultCarrier`.

        The next frame's motion is since this one, and what a server needs to decode later frames goes up.

        Raises:
          ShapeError: it is no frame of a video.
          StateError: no frame has run, or the frame has another size.
        """
        self._last()
        checked_frame(frame)
        if self._places is None or self._size != frame.pixels.shape[:2]:
            raise StateError(
                f"a frame of {frame.pixels.shape[0]}x{frame.pixels.shape[1]} px has to be run, not skipped"
            )
        self._frames += 1
        self._places.skip(frame)

    def focus(self, regions: NDArray[np.uint8] | NDArray[np.bool_]) -> None:
        """See `Session.focus`."""
        self._last()
        if self._places is None or self._size is None:
            raise self._over()
        self._places.focus(checked_regions(regions, self._size))

    def work_map(self) -> NDArray[np.float32]:
        """See `Session.work_map`; of a frame that the server ran, as the edge has told it.

        Raises:
          StateError: no frame has run, the session is closed, or a server that plans has answered the frame: it does
            not tell where it recomputes.
        """
        answer = self._last()
        if self._runner is None or self._program is None:
            raise self._over()
        if answer.cloud is None:
            return self._runner.work_map()
        if answer.proposal is None:
            raise StateError(
                "a server that plans does not tell where it has recomputed: use OffloadOptions(server_work='edge')"
            )
        return predicted_work_map(self._program.engine.plan, answer.proposal)

    def _last(self) -> TwoPlacesAnswer:
        if self._answer is None:
            raise StateError("session has run no frame yet")
        return self._answer

    def _over(self) -> StateError:
        """What is asked of the last frame was freed with its stream."""
        return StateError("session is closed" if self._closed else "the last frame's stream is gone: run a frame first")

    def _start(self, size: Size, frame: Frame) -> None:
        model, options = self._model_for(size), self._options
        program = self._program = model.program
        if program.canvas_px:
            raise OptionError("a canvas cannot be used in two places: compile the model with canvas_px=0")
        plan = program.engine.plan
        orders, wake = work_orders(plan, self._reuse), threading.Event()
        estimates = Estimates(edge=model.latency, energy=model.energy, budget=HedgeBudget(share=options.hedge_share))
        ask = (lambda: None) if self._video is None else self._video.request_keyframe
        plans, kinds = self._server_plans, 1 + len(orders.levels)
        payload = open_payload(options.payload, orders, size, ask, server_plans=plans)
        cache: ServerCache
        if plans:
            cache = PlannedThere(kinds, estimates)
        else:
            mirror = Mirror(cloud_policy(program, self._reuse, sparse_image=payload.is_sparse), size)
            cache = ToldCache(mirror, orders, work_features, estimates)
        edge_mirror = Mirror(edge_policy(program, self._reuse), size)
        # last, since a session that cannot start must not leave a link behind
        self._runner = EdgeRunner(program, wake.set, given=self._reuse.policy == "planned")
        self._link = CloudLink(self._transport, self._hello(model, frame), options.link, self._on_link)
        cloud = CloudEndpoint(self._link, cache, payload, estimates, wake=wake.set)
        unflatten, codec = program.unflatten, OutputsCodec(plan)
        self._places = TwoPlaces(
            edge=edge_mirror,
            runner=self._runner,
            cloud=cloud,
            seen=LastSeen(program, self._reuse) if plans else None,
            estimates=estimates,
            options=options.dispatch,
            features=work_features,
            kinds=kinds,
            decode=(lambda data: unflatten(codec.decode(data))) if self._detections is None else decode_detections,
            finish=on_cpu if self._detections is None else self._detections.of,
            keep_warm=options.keep_warm,
            overlaps=self._reuse.policy == "planned" and self._reuse.input_mode == "fresh",
            wake=wake,
            settled=self._on_settled,
        )
        self._size = size

    def _end(self) -> None:
        if self._places is not None:
            self._places.close()
        self._places = self._link = self._runner = self._size = self._program = None

    def _hello(self, model: LocalModel, frame: Frame) -> pb.Hello:
        options, compute = self._options, model.compute
        hello = pb.Hello(
            protocol=PROTOCOL,
            stream=options.stream,
            plan=model.program.engine.plan.digest(),
            weights=model.weights,
            reuse=encode_reuse(self._reuse),
            payload=options.payload,
            answer=options.answer,
            dtype=compute.dtype,
            backend=compute.backend,
            isa=compute.isa,
            version=compute.version,
            budget_ms=budget_ms(options.dispatch.deadline_ms),
            server_plans=self._server_plans,
        )
        if self._detections is not None:
            hello.confidence, hello.iou = self._detections.confidence, self._detections.iou
        elif self._server_plans:
            hello.iou = self._iou
        if options.payload == "bitstream" and self._video is not None:
            stream = self._video.stream
            hello.decoder = self._video.decoder
            hello.picture_height, hello.picture_width = stream.picture_size
            # where the packets are encoded here, pictures are images already
            hello.padded = not stream.encoded_here and frame.letterbox == Letterbox(stream.picture_size, None)
        return hello
