"""The frames of one stream on the server: from messages to results, one frame at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from fluxshard.cloud.server.caches import CacheLease, CachePool
from fluxshard.cloud.server.images import Mask, StreamImages
from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.cloud.server.metrics import FrameEnd, Observer
from fluxshard.cloud.server.running.frame_runner import FrameRunner, FrameWork, RanFrame
from fluxshard.cloud.server.scheduler import Done, Scheduler
from fluxshard.cloud.server.served_model import ServedModel
from fluxshard.cloud.wire.messages import Assembly, checksum, chunks, whole_ms
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import FluxShardError, WireError
from fluxshard.runtime.offload.pacing import MOST_CHUNK_BYTES

_PATIENCE_S = 1.0  # deadline of frames without one: others must not put them off for ever
_HEARTBEAT_S = 0.5  # an edge that hears nothing for seconds takes the link for lost
PROGRESS_S = 0.002  # least time between two of them while a payload arrives: on a fast link they would take longest

_LOST_PICTURES, _FAILED = "the video was interrupted", "the frame failed"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shared:
    """What all streams of a server share.

    Attributes:
      limits: of the server.
      caches: counts their memory.
      scheduler: runs their frames.
      decoders: threads that turn payloads into images.
      observer: is told what happens.
    """

    limits: ServerLimits
    caches: CachePool
    scheduler: Scheduler
    decoders: Executor
    observer: Observer


@dataclass(slots=True, eq=False)
class _Upload:
    """A frame that arrives."""

    frame: pb.Frame
    work: FrameWork
    payload: Assembly
    began: float  # when its head came
    after_head: int = 0  # bytes since then
    timer: asyncio.TimerHandle | None = None


class StreamFrames:
    """Turns the messages of one stream into results. For one event loop.

    Args:
      model: that the stream runs.
      runner: runs its frames.
      images: of the stream, from payloads or packets.
      epoch: of the connection.
      identity: of the caller.
      shared: with the other streams.
      send: hands a message to the edge.
      fail: ends the stream because of an error.
      worked: is told of the engine's time for each frame that ran, in seconds.
    """

    def __init__(
        self,
        model: ServedModel,
        runner: FrameRunner,
        images: StreamImages,
        *,
        epoch: int,
        identity: str,
        shared: Shared,
        send: Callable[[pb.Down], None],
        fail: Callable[[Exception], None],
        worked: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._model, self._runner, self._images = model, runner, images
        self._epoch, self._shared, self._send, self._fail = epoch, shared, send, fail
        self._worked = worked
        self._lease: CacheLease = shared.caches.lease(identity, self._evict)
        self._seq = 0  # the last one that was begun
        self._upload: _Upload | None = None
        self._job: asyncio.Task[None] | None = None
        self._parking: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._received = 0
        self._told_at = 0.0  # when progress was told last
        self._is_over = False
        self._loop = asyncio.get_running_loop()

    @property
    def is_idle(self) -> bool:
        """No frame is under way."""
        return self._upload is None and self._job is None

    def stop(self) -> None:
        """Frees all that the stream holds; a frame that is being computed is computed to its end, for nobody."""
        if self._is_over:
            return
        self._is_over = True
        for task in (self._job, self._parking):
            if task is not None:
                task.cancel()
        for timer in (self._pause, self._expiry, self._beat, None if self._upload is None else self._upload.timer):
            if timer is not None:
                timer.cancel()
        self._upload = None
        self._evict()
        self._shared.caches.release(self._lease)
        self._images.close()

    async def close(self) -> None:
        """Stops, and waits for what has to notice that."""
        self.stop()
        tasks = [task for task in (self._job, self._parking) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def take(self, message: pb.Up, n_bytes: int) -> None:
        """Takes the next message.

        Args:
          message: of any kind but Hello.
          n_bytes: of it on the wire.

        Raises:
          WireError: it is not allowed here; the stream cannot go on.
        """
        self._received += n_bytes
        upload, kind = self._upload, message.WhichOneof("kind")
        if upload is not None and kind in ("chunk", "packet"):
            upload.after_head += n_bytes
        if kind == "frame":
            self._begin(message.frame)
        elif kind == "chunk":
            self._add(message.chunk)
        elif kind == "packet":
            self._packet(message.packet)
        elif kind == "cancel":
            if upload is not None and message.cancel.seq == upload.frame.seq:
                self._drop_upload()
        else:
            raise WireError("a second greeting")

    def _begin(self, frame: pb.Frame) -> None:
        if not self.is_idle:
            raise WireError("a frame came while another is under way")
        if frame.seq <= self._seq:
            raise WireError("a frame came twice, or too late")
        if frame.payload_bytes > self._shared.limits.max_frame_bytes:
            raise WireError("a payload is larger than allowed")
        self._seq = frame.seq
        work = self._runner.read(frame)
        self._images.announce(frame)
        self._progress(frame.seq, 0.0)
        reason = self._needs_key(frame)
        if reason:
            self._need_key(frame.seq, reason)
            return
        wait_ms = self._too_late_ms(frame)
        if wait_ms is not None:
            self._shared.observer.frame(FrameEnd.REJECTED)
            self._send(pb.Down(reject=pb.Reject(seq=frame.seq, wait_ms=wait_ms)))
            return
        payload = Assembly(frame.payload_bytes, frame.payload_crc32, (frame.motion, frame.masks))
        upload = _Upload(frame, work, payload, self._loop.time())
        late = WireError("a frame took too long to arrive")
        upload.timer = self._loop.call_later(self._shared.limits.upload_s, self._fail, late)
        self._upload = upload
        self._complete()

    def _add(self, chunk: pb.Chunk) -> None:
        upload = self._upload
        if upload is None or chunk.seq != upload.frame.seq:
            if chunk.seq != self._seq:
                raise WireError("a chunk belongs to no frame")
            return  # of a frame that was refused while its pixels were on the way
        upload.payload.add(chunk)
        now = self._loop.time()
        if upload.payload.is_complete or now - self._told_at >= PROGRESS_S:
            self._progress(chunk.seq, now - upload.began)
        self._complete()

    def _packet(self, packet: pb.Packet) -> None:
        whole = self._images.packet(packet)
        if whole:
            self._complete()
        upload, now = self._upload, self._loop.time()
        if whole or now - self._told_at >= PROGRESS_S:
            seq, since = (self._seq, 0.0) if upload is None else (upload.frame.seq, now - upload.began)
            self._progress(seq, since)

    def _complete(self) -> None:
        """Starts the frame, where all of it is here."""
        upload = self._upload
        if upload is None or not upload.payload.is_complete or not self._images.has(upload.frame):
            return
        payload = upload.payload.payload()
        self._drop_upload()
        reason = self._runner.needs_key(upload.frame)  # evicted while the frame arrived
        if reason:
            self._need_key(upload.frame.seq, reason)
            return
        self._lease.busy = True
        for timer in (self._pause, self._expiry):
            if timer is not None:
                timer.cancel()
        self._job = self._loop.create_task(self._run(upload, payload))
        self._job.add_done_callback(self._ended)
        self._beat = self._loop.call_later(_HEARTBEAT_S, self._still_there, upload)

    async def _run(self, upload: _Upload, payload: bytes) -> None:
        frame, arrived, loop = upload.frame, self._loop.time(), self._loop
        upload_s = arrived - upload.began

        def mask() -> Mask:
            return self._runner.mask(upload.work)

        try:
            image = await self._images.image(frame, payload, mask, self._shared.decoders)
        except FluxShardError:
            if self._images.recovers:
                self._need_key(frame.seq, _LOST_PICTURES)
                return
            raise
        decoded = loop.time()
        if self._parking is not None:  # what is being packed is brought back afterwards
            await asyncio.wait([self._parking])
        if not self._has_memory():
            self._shared.observer.frame(FrameEnd.REJECTED)
            retry_ms = whole_ms(self._shared.limits.retry_s)
            self._send(pb.Down(reject=pb.Reject(seq=frame.seq, wait_ms=retry_ms)))
            return
        deadline = upload.began + (frame.budget_ms / 1e3 if frame.budget_ms else _PATIENCE_S)
        try:
            task = self._runner.task(frame, upload.work, image, self._images.motion)
            done = await self._shared.scheduler.run(deadline, task)
        except FluxShardError as error:
            self._shared.observer.failed(error)
            self._evict()
            self._need_key(frame.seq, _FAILED)
            return
        self._worked(done.service_s)
        self._runner.ran(frame)
        self._images.ran()
        self._lease.used_at = loop.time()
        self._answer(upload, done, upload_s=upload_s, decode_s=decoded - arrived, arrived=arrived)

    def _answer(
        self, upload: _Upload, done: Done[RanFrame], *, upload_s: float, decode_s: float, arrived: float
    ) -> None:
        ran, answer = done.result.ran, done.result.answer
        frame, now = upload.frame, self._loop.time()
        result = pb.Result(
            seq=frame.seq,
            epoch=self._epoch,
            answer_bytes=len(answer),
            answer_crc32=checksum(answer),
            pixels_digest=self._images.digest,
            keyframe=ran.counts.keyframe,
            compute_ratio=ran.compute_ratio,
            work=ran.counts.input_cells / self._model.plan.grids[0].cells,
            upload_ms=1e3 * upload_s,
            upload_bytes=upload.after_head,
            queue_ms=1e3 * done.queue_s,
            decode_ms=1e3 * decode_s + done.result.plan_ms,
            inference_ms=ran.ms,
            answer_ms=done.result.answer_ms,
            server_ms=1e3 * (now - arrived),
            wait_ms=1e3 * self._shared.scheduler.wait_s(now),
            credit_bytes=self._shared.limits.max_frame_bytes,
        )
        self._send(pb.Down(result=result))
        for chunk in chunks(frame.seq, answer, MOST_CHUNK_BYTES):
            self._send(pb.Down(chunk=chunk))
        self._shared.observer.frame(FrameEnd.ANSWERED if answer else FrameEnd.REFRESHED, result)

    def _has_memory(self) -> bool:
        """Takes the memory that the stream needs, where there is so much."""
        n_bytes = self._runner.start()
        if not self._shared.caches.make_room(self._lease, n_bytes):
            self._evict()
            return False
        self._lease.n_bytes = n_bytes
        return True

    def _needs_key(self, frame: pb.Frame) -> str:
        """Why only a keyframe would do; empty where the frame can be run."""
        return self._runner.needs_key(frame) if self._images.can_have(frame) else _LOST_PICTURES

    def _need_key(self, seq: int, reason: str) -> None:
        self._shared.observer.frame(FrameEnd.NEEDS_KEY)
        video = reason == _LOST_PICTURES
        if video:
            self._runner.interrupt()
        self._send(pb.Down(need_key=pb.NeedKey(seq=seq, reason=reason, video=video)))

    def _too_late_ms(self, frame: pb.Frame) -> int | None:
        """How long the frame would wait, where it would then come too late; refused before its pixels are decoded."""
        if not frame.budget_ms:
            return None
        scheduler = self._shared.scheduler
        wait_ms = 1e3 * scheduler.wait_s(self._loop.time())
        late = scheduler.depth > 0 and wait_ms + 1e3 * scheduler.service_s > frame.budget_ms
        return math.ceil(wait_ms) if late else None

    def _progress(self, seq: int, since_s: float) -> None:
        self._told_at = self._loop.time()
        progress = pb.Progress(seq=seq, received_bytes=self._received, since_first_us=max(0, round(1e6 * since_s)))
        self._send(pb.Down(progress=progress))

    def _still_there(self, upload: _Upload) -> None:
        self._progress(upload.frame.seq, self._loop.time() - upload.began)
        self._beat = self._loop.call_later(_HEARTBEAT_S, self._still_there, upload)

    def _drop_upload(self) -> None:
        if self._upload is not None:
            assert self._upload.timer is not None
            self._upload.timer.cancel()
        self._upload = None

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._job, self._lease.busy = None, False
        if self._beat is not None:
            self._beat.cancel()
        if job.cancelled() or self._is_over:
            return
        error = job.exception()
        if error is not None:
            self._fail(error if isinstance(error, Exception) else WireError("the stream was interrupted"))
            return
        limits = self._shared.limits
        self._expiry = self._loop.call_later(limits.lease_s, self._evict)
        if limits.park_s:
            self._pause = self._loop.call_later(limits.park_s, self._park)

    def _park(self) -> None:
        """Packs the cache away in a thread, unless a frame is on its way: then it looks again later."""
        if not self.is_idle:
            self._pause = self._loop.call_later(self._shared.limits.park_s, self._park)
        elif self._lease.n_bytes:
            self._lease.busy = True  # nobody else frees what is being packed
            self._parking = self._loop.create_task(self._pack())

    async def _pack(self) -> None:
        try:
            n_bytes = await self._loop.run_in_executor(self._shared.decoders, self._runner.park)
            if n_bytes is not None and self._lease.n_bytes:
                self._lease.n_bytes = n_bytes
        except Exception as error:  # the stream has lost nothing by that, or its next frame says so
            self._shared.observer.failed(error)
        finally:
            self._parking, self._lease.busy = None, self._job is not None

    def _evict(self) -> None:
        """Frees the cache; nothing of it can be reused."""
        self._runner.free()
        self._lease.n_bytes = 0
