"""The link to a server: kept open in a thread of its own, opened again for ever when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from fluxshard.cloud.edge.connection.loop_thread import LINKS
from fluxshard.cloud.edge.connection.upload import Answered, KeyNeeded, Lost, Refused, Upload
from fluxshard.cloud.wire.messages import MAX_ANSWER_BYTES, Assembly, read_down
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import FluxShardError, OptionError, RefusedError, TransportError, WireError
from fluxshard.options import is_number
from fluxshard.runtime.offload.transport import Transport

_WORTH_S = 1.0  # that a connection has to last
_STEP_S = 0.05  # from no pause to the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """How patient a link is.

    Attributes:
      connect_s: within which a server has to welcome the edge.
      silence_s: without a sign of an upload after which the link is taken for lost: a half-open one never fails.
      frame_s: for a frame after which it is taken for lost, whatever signs the server gives: its engine may hang.
      backoff_s: first and largest pause between attempts.
      patience_s: of attempts without success, after which pauses grow up to `slow_s`.
      slow_s: largest pause then.

    Raises:
      OptionError: a time that is not allowed.
    """

    connect_s: float = 1.5
    silence_s: float = 3.0
    frame_s: float = 60.0
    backoff_s: tuple[float, float] = (0.1, 0.6)
    patience_s: float = 120.0
    slow_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("connect_s", "silence_s", "frame_s", "patience_s", "slow_s"):
            value = getattr(self, name)
            if not (is_number(value) and value >= 0):
                raise OptionError(f"{name} (={value!r}) must be a finite number of at least 0")
        if self.slow_s == 0:
            raise OptionError(f"slow_s (={self.slow_s!r}) must be above 0: it is the largest pause between attempts")
        pauses = self.backoff_s
        two = isinstance(pauses, (tuple, list)) and len(pauses) == 2 and all(map(is_number, pauses))
        if not two or not 0 <= pauses[0] <= pauses[1] or pauses[1] == 0:
            raise OptionError(
                f"backoff_s (={pauses!r:.80}) must be two finite numbers >= 0, the smaller first, the larger above 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """What is known of the link.

    Attributes:
      is_open: frames can be sent.
      epoch: of the connection; another one knows nothing of the frames before.
      welcome: what the server said; None before the first time.
      reason: why it is closed; empty while it is open.
      wait_ms: in the server's queue, as it last said.
      credit_bytes: largest payload.
      attempts: to connect since it was open last.
    """

    is_open: bool = False
    epoch: int = 0
    welcome: pb.Welcome | None = None
    reason: str = "not connected yet"
    wait_ms: float = 0.0
    credit_bytes: int = 0
    attempts: int = 0


class CloudLink:
    """Sends uploads, one after the other, and tells what becomes of them. `close` it.

    Args:
      transport: to the server.
      hello: what the edge says first.
      options: how patient to be.
      notify: is told, in the links' thread, when the link opens or is lost.
    """

    def __init__(
        self,
        transport: Transport,
        hello: pb.Hello,
        options: LinkOptions | None = None,
        notify: Callable[[LinkState], None] = lambda _: None,
    ) -> None:
        self._transport, self._hello, self._options, self._notify = transport, hello, options or LinkOptions(), notify
        self._state = LinkState()
        self._loop = LINKS.loop
        self._queue: deque[Upload] = deque()
        self._more, self._ended = asyncio.Event(), asyncio.Event()
        self._given_bytes = self._sent_bytes = self._total_bytes = 0
        self._current: Upload | None = None  # that waits for its outcome
        self._answer: tuple[pb.Result, Assembly] | None = None
        self._closing = self._draining = self._was_open = False
        self._life = LINKS.run(self._main())

    @property
    def state(self) -> LinkState:
        """What is known now."""
        return self._state

    @property
    def bytes_sent(self) -> int:
        """Bytes of all messages so far, over all connections."""
        return self._total_bytes

    def submit(self, upload: Upload) -> None:
        """Sends a frame; one whose outcome is not known yet must be the only one."""
        self._call(self._enqueue, upload)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that were handed over and have not been taken by the network."""
        return self._given_bytes - self._sent_bytes

    def forward(self, messages: list[bytes]) -> None:
        """Sends messages that have no outcome, after all that was handed over before."""
        self._call(self._enqueue_forwarded, Upload(0, messages, lambda: None))

    def drop_waiting(self) -> None:
        """Forgets all messages of which nothing has been taken yet."""
        self._call(self._drop_waiting)

    def close(self) -> None:
        """Ends the link; returns when nothing of it is left."""
        if not self._closing:
            self._closing = True
            self._call(self._ended.set)
            self._life.result()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(function, *arguments)

    def _enqueue(self, upload: Upload) -> None:
        if not self._state.is_open:
            upload.finish(Lost(reason=self._state.reason, sent=False))
            return
        self._current = upload
        self._append(upload)

    def _enqueue_forwarded(self, upload: Upload) -> None:
        if self._state.is_open:
            self._append(upload)

    def _append(self, upload: Upload) -> None:
        self._given_bytes += upload.n_bytes
        self._queue.append(upload)
        self._more.set()

    def _drop_waiting(self) -> None:
        current, self._current = self._current, None
        if current is not None and current not in self._queue:
            self._current = current
        elif current is not None:
            current.finish(Refused(wait_ms=0.0))  # its packets follow those that are dropped
        self._given_bytes -= sum(upload.n_bytes for upload in self._queue)
        self._queue.clear()

    # --- in the link's thread -----------------------------------------------------------------------------------------

    async def _main(self) -> None:
        failed_since: float | None = None
        pause = self._options.backoff_s[0]
        while not self._closing:
            started = time.monotonic()
            try:
                reason, retry_s = await self._connected()
            except (Exception, asyncio.CancelledError) as error:  # of the transport: the link has to come back
                reason, retry_s = f"the link failed: {type(error).__name__}", None
            was_open = self._lost(reason)
            now, options = time.monotonic(), self._options
            if was_open and now - started > _WORTH_S:  # a server that drops what it welcomes is no better
                failed_since, pause = None, options.backoff_s[0]
            failed_since = failed_since or started
            most = options.backoff_s[1] if now - failed_since < options.patience_s else options.slow_s
            # jitter: the edges of a server that was restarted must not all come back at once
            await self._sleep(max(self._asked_s(retry_s), random.uniform(0.5, 1.0) * pause))
            pause = min(2 * pause or _STEP_S, most)

    def _asked_s(self, retry_s: float | None) -> float:
        """What a server asks for, within reason."""
        return min(retry_s, self._options.slow_s) if retry_s is not None and retry_s >= 0 else 0.0

    async def _connected(self) -> tuple[str, float | None]:
        """One connection, from greeting to end; returns why it ended, and when the server wants to be asked again."""
        self._state = replace(self._state, attempts=self._state.attempts + 1)
        down = self._transport.exchange(self._up())
        watch: asyncio.Task[None] | None = None
        try:
            first = read_down(await self._first(down))
            if first.WhichOneof("kind") != "welcome":
                raise WireError("the server's first message is no welcome")
            self._opened(first.welcome)
            receiving = asyncio.ensure_future(self._receive(down))
            watch = asyncio.ensure_future(self._watch())
            await asyncio.wait((receiving, watch), return_when=asyncio.FIRST_COMPLETED)
            for task in (receiving, watch):
                task.cancel()
            results = await asyncio.gather(receiving, watch, return_exceptions=True)
            for error in results:
                if isinstance(error, Exception):
                    raise error
            return "the stream has ended", None
        except TimeoutError:
            return f"no answer within {self._options.connect_s:g} s", None
        except StopAsyncIteration:
            return "the server ended the stream", None
        except RefusedError as error:
            # a server that never says when does not take this edge: asking again helps when something has changed
            never = self._options.slow_s if not self._was_open else None
            return str(error), never if error.retry_after_s is None else error.retry_after_s
        except FluxShardError as error:
            return str(error), None
        finally:
            await down.aclose()  # type: ignore[attr-defined]  # of a generator

    async def _first(self, down: AsyncIterator[bytes]) -> bytes:
        """The first message; nobody waits for one that a closed link has no use for."""
        first, ended = asyncio.ensure_future(anext(down)), asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait((first, ended), timeout=self._options.connect_s, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                raise TimeoutError
            return first.result()
        finally:
            first.cancel()
            ended.cancel()
            await asyncio.gather(first, ended, return_exceptions=True)

    async def _receive(self, down: AsyncIterator[bytes]) -> None:
        async for data in down:
            self._take(read_down(data))
        raise TransportError("the server ended the stream")

    async def _watch(self) -> None:
        """Ends when the link is to be closed, or raises when the server has been silent for too long."""
        while not self._closing:
            await self._sleep(0.05)
            current = self._current
            if current is None or current.outcome is not None:
                if self._draining:
                    raise TransportError("the server is about to stop")
            elif current.silent_s(time.monotonic()) > self._options.silence_s:
                raise TransportError(f"no sign of the server for {self._options.silence_s:g} s")
            elif time.monotonic() - current.began > self._options.frame_s:
                raise TransportError(f"the server has not answered for {self._options.frame_s:g} s")

    async def _up(self) -> AsyncIterator[bytes]:
        """Messages to the server, for one connection: what comes after it finds another queue."""
        queue = self._queue = deque[Upload]()
        more = self._more = asyncio.Event()
        hello = pb.Up(hello=self._hello).SerializeToString()
        self._sent_bytes = self._given_bytes = 0  # the greeting is not counted: nothing of it is acknowledged
        self._total_bytes += len(hello)
        yield hello
        while not self._closing and queue is self._queue:
            if not queue:
                more.clear()
                await more.wait()
                continue
            upload = queue.popleft()
            while (message := upload.next_message(self._sent_bytes)) is not None:
                self._count(message)
                yield message
            if queue is self._queue:
                self._given_bytes -= upload.left_bytes

    def _count(self, message: bytes) -> None:
        self._sent_bytes += len(message)
        self._total_bytes += len(message)

    def _opened(self, welcome: pb.Welcome) -> None:
        self._answer = self._current = None
        self._draining = False
        self._was_open = True
        self._state = LinkState(
            is_open=True, epoch=welcome.epoch, welcome=welcome, reason="", credit_bytes=welcome.max_frame_bytes
        )
        self._tell()

    def _tell(self) -> None:
        self._loop.call_soon(self._notify, self._state)  # an error in it is not one of the link

    def _lost(self, reason: str) -> bool:
        """The connection is over; returns whether it had been open."""
        was_open, self._was_open = self._was_open, False
        self._state = replace(self._state, is_open=False, reason=reason)
        current, self._current, self._answer = self._current, None, None
        queue, self._queue = self._queue, deque()
        self._more.set()  # whoever still waits for messages finds that its connection is over
        for upload in (current, *queue):
            if upload is not None:
                upload.finish(Lost(reason=reason))
        if not self._closing and (was_open or self._state.attempts == 1):
            self._tell()
        return was_open

    def _take(self, message: pb.Down) -> None:
        kind, current = message.WhichOneof("kind"), self._current
        if kind == "progress":
            if current is not None:
                current.acknowledge(message.progress.received_bytes)
        elif kind == "result":
            self._result(message.result)
        elif kind == "chunk":
            self._chunk(message.chunk)
        elif kind == "need_key":
            self._finish(
                message.need_key.seq, KeyNeeded(reason=message.need_key.reason[:200], video=message.need_key.video)
            )
        elif kind == "reject":
            self._state = replace(self._state, wait_ms=float(message.reject.wait_ms))
            self._finish(message.reject.seq, Refused(wait_ms=float(message.reject.wait_ms)))
        elif kind == "drain":
            self._draining = True  # what is under way is still answered
            self._state = replace(self._state, is_open=False, reason="the server is about to stop")
        else:
            raise WireError("a second welcome")

    def _result(self, result: pb.Result) -> None:
        if self._answer is not None or result.answer_bytes > MAX_ANSWER_BYTES:
            raise WireError("an answer came that is not allowed")
        if not all(math.isfinite(value) and value >= 0 for _, value in result.ListFields()):
            raise WireError("an answer has figures that are not allowed")
        self._state = replace(self._state, wait_ms=result.wait_ms, credit_bytes=result.credit_bytes)
        assembly = Assembly(result.answer_bytes, result.answer_crc32)
        if assembly.is_complete:
            self._finish(result.seq, Answered(result=result, answer=b""))
        else:
            self._answer = (result, assembly)

    def _chunk(self, chunk: pb.Chunk) -> None:
        if self._answer is None or chunk.seq != self._answer[0].seq:
            raise WireError("a part of no answer came")
        result, assembly = self._answer
        assembly.add(chunk)
        if self._current is not None:
            self._current.hear()
        if assembly.is_complete:
            self._answer = None
            self._finish(result.seq, Answered(result=result, answer=assembly.payload()))

    def _finish(self, seq: int, outcome: Answered | Refused | KeyNeeded) -> None:
        current = self._current
        if current is None or current.seq != seq:
            return  # given up before the server knew
        self._current = None
        current.finish(outcome)

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, but not when the link is closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
