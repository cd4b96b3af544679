"""Streams of a server, whatever transport brings them: greeting, admission, and the loop over messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from fluxshard.cloud.compute import Compute
from fluxshard.cloud.server.admission.claims import Claims, taken_over
from fluxshard.cloud.server.admission.greeting import greeting, stream_name
from fluxshard.cloud.server.caches import CachePool
from fluxshard.cloud.server.images import StreamImages
from fluxshard.cloud.server.limits import Caller, ServerLimits
from fluxshard.cloud.server.metrics import Observer, SilentObserver
from fluxshard.cloud.server.open_images import open_images
from fluxshard.cloud.server.outbox import Outbox
from fluxshard.cloud.server.running.open_runner import open_runner
from fluxshard.cloud.server.scheduler import Scheduler
from fluxshard.cloud.server.served_model import Catalogue, ServedModel
from fluxshard.cloud.server.stream_frames import Shared, StreamFrames
from fluxshard.cloud.wire.messages import read_up, whole_ms
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError, WireError

_DECODER_THREADS = 4

OpenImages = Callable[[pb.Hello, ServedModel, ServerLimits, Executor, Callable[[Exception], None]], StreamImages]


class StreamServer:
    """Serves streams. For one event loop; close it there.

    Args:
      catalogue: of models.
      limits: of the server.
      observer: is told what happens.
      decoder: fingerprint of this machine's decoder and scaler.
      open_images: makes a stream's images.
      claims: decide whose a stream is.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        limits: ServerLimits | None = None,
        *,
        observer: Observer | None = None,
        decoder: str = "",
        open_images: OpenImages = open_images,
        claims: Claims | None = None,
    ) -> None:
        self._catalogue, self._limits = catalogue, limits or ServerLimits()
        self._observer = observer or SilentObserver()
        self._decoder, self._open_images = decoder, open_images
        self._claims = Claims() if claims is None else claims
        self._inference = ThreadPoolExecutor(1, "inference")  # all cores work on one frame
        self._decoders = ThreadPoolExecutor(_DECODER_THREADS, "decoding")
        self._shared = Shared(
            limits=self._limits,
            caches=CachePool(self._limits.cache_bytes),
            scheduler=Scheduler(self._inference),
            decoders=self._decoders,
            observer=self._observer,
        )
        self._connected = 0
        self._outboxes: dict[str, Outbox] = {}
        self._draining: pb.Drain | None = None

    @property
    def connected(self) -> int:
        """Streams that are open, those included that have not greeted yet."""
        return self._connected

    @property
    def cached_bytes(self) -> int:
        """Memory of all streams' cached features."""
        return self._shared.caches.n_bytes

    @property
    def queue_depth(self) -> int:
        """Frames that wait or run."""
        return self._shared.scheduler.depth

    @property
    def running_s(self) -> float:
        """For which the engine has run its present frame; 0 where it runs none."""
        return self._shared.scheduler.running_s(asyncio.get_running_loop().time())

    def drain(self, deadline_s: float, moved_to: str = "") -> None:
        """Takes no new streams, and tells those that are open to go.

        Args:
          deadline_s: after which they are ended.
          moved_to: HOST:PORT of the server that takes them; empty for none.
        """
        self._draining = pb.Drain(moved_to=moved_to, deadline_ms=whole_ms(deadline_s))
        for outbox in self._outboxes.values():
            outbox.send(pb.Down(drain=self._draining))
        asyncio.get_running_loop().call_later(deadline_s, self._end_all)

    def _end_all(self) -> None:
        for stream in tuple(self._outboxes):
            self.end(stream, self._stopping())

    def release(self, stream: str, deadline_s: float, moved_to: str = "") -> None:
        """Tells one stream to go; its frame under way is still answered. Nothing happens where it is not open.

        Args:
          stream: its name.
          deadline_s: after which it is ended.
          moved_to: HOST:PORT of the server that takes it; empty for none.
        """
        outbox = self._outboxes.get(stream)
        if outbox is not None:
            outbox.send(pb.Down(drain=pb.Drain(moved_to=moved_to, deadline_ms=whole_ms(deadline_s))))
            asyncio.get_running_loop().call_later(deadline_s, outbox.fail, self._stopping())

    def end(self, stream: str, error: RefusedError) -> None:
        """Ends one stream at once; nothing happens where it is not open."""
        outbox = self._outboxes.get(stream)
        if outbox is not None:
            outbox.fail(error)

    def close(self) -> None:
        """Frees the threads; all streams must have ended."""
        self._inference.shutdown(wait=True, cancel_futures=True)
        self._decoders.shutdown(wait=True, cancel_futures=True)

    async def exchange(self, caller: Caller, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """One stream, from greeting to end; see `Transport.exchange` for the other side.

        Args:
          caller: who opened it.
          up: its messages.

        Yields:
          messages to it.

        Raises:
          RefusedError: the stream is not taken, or cannot go on.
        """
        with self._slot():
            hello = await greeting(up, self._limits.hello_s)
            self._check_open()
            model = self._model(hello)
            stream = stream_name(hello, caller)
            with contextlib.ExitStack() as held:  # until the stream is over, whether its edge reads that or not
                outbox = Outbox(held.close)
                self._check_room(stream, caller)
                claim = self._claims.claim(
                    stream, caller.identity, lambda: outbox.fail(taken_over()), placed=hello.epoch
                )
                epoch = held.enter_context(claim)
                frames = self._frames(hello, model, caller, epoch, outbox)
                held.callback(frames.stop)
                reader = asyncio.create_task(self._read(up, frames, outbox))
                held.callback(reader.cancel)
                self._outboxes[stream] = outbox
                self._observer.event("stream_opened", stream=stream, caller=caller.identity, epoch=epoch)
                try:
                    outbox.send(pb.Down(welcome=self._welcome(hello, model, epoch)))
                    async for message in outbox:
                        yield message
                finally:
                    if self._outboxes.get(stream) is outbox:
                        del self._outboxes[stream]
                    held.close()
                    await asyncio.gather(reader, return_exceptions=True)
                    await frames.close()
                    self._observer.event("stream_closed", stream=stream, caller=caller.identity, epoch=epoch)

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        """One of the connections that may be greeted: as many as there are streams, and as many that replace one."""
        self._check_open()
        if self._connected >= 2 * self._limits.max_streams:
            raise self._full()
        self._connected += 1
        try:
            yield
        finally:
            self._connected -= 1

    def _check_open(self) -> None:
        if self._draining is not None:
            raise self._stopping()

    def _stopping(self) -> RefusedError:
        return RefusedError("the server is about to stop", reason="draining", retry_after_s=self._limits.retry_s)

    def _check_room(self, stream: str, caller: Caller) -> None:
        """Refuses a stream that there is no room for: a queue of callers would only make all of them late.

        Whoever takes over a stream of its own needs no room.
        """
        if self._claims.owns(stream, caller.identity):
            return
        most = self._limits.max_streams_per_identity
        if len(self._claims) >= self._limits.max_streams or (most and self._claims.count(caller.identity) >= most):
            raise self._full()

    def _full(self) -> RefusedError:
        return RefusedError("the server has no room for a stream", reason="full", retry_after_s=self._limits.retry_s)

    def _model(self, hello: pb.Hello) -> ServedModel:
        if hello.server_plans and not hello.plan:
            return self._catalogue.find_size((hello.image_height, hello.image_width), hello.weights)
        return self._catalogue.find(hello.plan, hello.weights)

    def _frames(self, hello: pb.Hello, model: ServedModel, caller: Caller, epoch: int, outbox: Outbox) -> StreamFrames:
        try:
            runner = open_runner(hello, model, epoch)
            images = self._open_images(hello, model, self._limits, self._decoders, self._observer.failed)
            return StreamFrames(
                model,
                runner,
                images,
                epoch=epoch,
                identity=caller.identity,
                shared=self._shared,
                send=outbox.send,
                worked=partial(self._claims.worked, hello.stream),
                fail=lambda error: outbox.fail(self._refusal(error)),
            )
        except Exception as error:
            raise self._refusal(error) from None

    def _welcome(self, hello: pb.Hello, model: ServedModel, epoch: int) -> pb.Welcome:
        mine = model.compute
        theirs = Compute(backend=hello.backend, dtype=hello.dtype, isa=hello.isa, device="", version=hello.version)
        return pb.Welcome(
            epoch=epoch,
            max_frame_bytes=self._limits.max_frame_bytes,
            lease_ms=whole_ms(self._limits.lease_s),
            dtype=mine.dtype,
            backend=mine.backend,
            isa=mine.isa,
            device=mine.device,
            version=mine.version,
            same_decoder=bool(hello.decoder) and hello.decoder == self._decoder,
            same_compute=mine.same_bits(theirs),
            latency_model=model.latency_model,
        )

    async def _read(self, up: AsyncIterator[bytes], frames: StreamFrames, outbox: Outbox) -> None:
        """Hands messages on until they end."""
        try:
            while True:
                async with asyncio.timeout(self._limits.idle_s):
                    await outbox.room()
                    data = await anext(up)
                frames.take(read_up(data), len(data))
        except StopAsyncIteration:
            outbox.close()
        except TimeoutError:
            outbox.fail(RefusedError("the stream was silent for too long", reason="invalid"))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            outbox.fail(self._refusal(error))

    def _refusal(self, error: Exception) -> RefusedError:
        """What the edge is told: constants for all that is not its own doing."""
        if isinstance(error, RefusedError):
            return error
        if isinstance(error, WireError):
            return RefusedError(str(error), reason="invalid")
        self._observer.failed(error)
        return RefusedError("the server failed", reason="failed", retry_after_s=self._limits.retry_s)
