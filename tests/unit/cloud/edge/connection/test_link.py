"""The link to a server: it comes back for ever, never waits for ever, and believes nothing that it is told."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from fluxshard.cloud.edge.connection.link import CloudLink, LinkOptions, LinkState
from fluxshard.cloud.edge.connection.loop_thread import LINKS
from fluxshard.cloud.edge.connection.upload import Answered, KeyNeeded, Lost, Refused, Upload
from fluxshard.cloud.wire.messages import MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES, read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import OptionError, RefusedError, TransportError
from tests.unit.cloud.edge.connection.fake_server import (
    FAST,
    FakeServer,
    answer_to,
    answering,
    failing,
    frame,
    link_to,
    outcome_of,
    saying,
    until,
)


def test_opens_and_answers() -> None:
    seen: list[LinkState] = []
    with link_to(FakeServer(answering), notify=seen.append) as link:
        assert not link.state.is_open or link.state.welcome is not None
        for seq in (1, 2, 3):
            outcome = outcome_of(link, upload := frame(seq, 100))
            assert isinstance(outcome, Answered) and outcome.answer == str(seq).encode()
            assert upload.outcome_at >= upload.began
        state = link.state
        assert (state.epoch, state.reason, state.wait_ms, state.credit_bytes) == (7, "", 12.0, 500)
        assert link.backlog_bytes == 0 and link.bytes_sent > 300
    assert [state.is_open for state in seen] == [True]  # who closes a link need not be told
    assert not link.state.is_open


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (pb.Down(reject=pb.Reject(seq=1, wait_ms=40)), Refused(wait_ms=40.0)),
        (pb.Down(need_key=pb.NeedKey(seq=1, reason="r" * 300)), KeyNeeded(reason="r" * 200)),
        (pb.Down(need_key=pb.NeedKey(seq=1, reason="r", video=True)), KeyNeeded(reason="r", video=True)),
    ],
)
def test_other_outcomes(message: pb.Down, expected: object) -> None:
    with link_to(FakeServer(saying(message))) as link:
        assert outcome_of(link, frame(1)) == expected
        assert link.state.is_open and link.state.wait_ms == (40.0 if isinstance(expected, Refused) else 0.0)


def test_what_belongs_to_no_frame_under_way_is_ignored() -> None:
    late = [pb.Down(reject=pb.Reject(seq=9)), pb.Down(need_key=pb.NeedKey(seq=9)), *answer_to_seq(9)]
    late.append(pb.Down(progress=pb.Progress(seq=9, received_bytes=2**63)))
    with link_to(FakeServer(saying(*late, *answer_to_seq(1)))) as link:
        outcome = outcome_of(link, frame(1))
        assert isinstance(outcome, Answered) and outcome.result.seq == 1


def answer_to_seq(seq: int) -> list[pb.Down]:
    return answer_to(pb.Up(frame=pb.Frame(seq=seq)))


# --- coming back ------------------------------------------------------------------------------------------------------


def test_tries_for_ever_with_pauses_that_grow_up_to_a_limit() -> None:
    options = replace(FAST, backoff_s=(0.01, 0.04), patience_s=0.4, slow_s=0.2)
    server = FakeServer(failing(TransportError("nobody is there")))
    with link_to(server, options) as link:
        until(lambda: len(server.times) > 14)
        state = link.state
        assert not state.is_open and state.reason == "nobody is there" and state.attempts >= 14
    gaps = [later - earlier for earlier, later in pairwise(server.times)]
    assert all(gap >= least / 2 for gap, least in zip(gaps, (0.01, 0.02, 0.04, 0.04), strict=False))
    patient = [gap for gap, at in zip(gaps, server.times, strict=False) if at - server.times[0] > 0.8]
    assert all(gap >= 0.1 for gap in patient), "after a while it is less impatient"


def test_comes_back_after_a_loss_and_knows_nothing_of_before() -> None:
    server = FakeServer(saying(then=TransportError("cut"), epoch=1), failing(TransportError("down")), answering)
    seen: list[LinkState] = []
    with link_to(server, notify=seen.append) as link:
        lost = frame(1, 100)
        assert outcome_of(link, lost) == Lost(reason="cut")
        until(lambda: link.state.epoch == 7)
        assert isinstance(outcome_of(link, frame(2)), Answered)
        assert link.state.attempts == 0 and link.state.wait_ms == 12.0
    seen_states = [(state.is_open, state.reason) for state in seen[:4]]
    assert seen_states == [(True, ""), (False, "cut"), (False, "down"), (True, "")]


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("no route"), TimeoutError(), asyncio.CancelledError()])
def test_comes_back_after_any_error_of_a_transport(error: BaseException) -> None:
    """Symptom: an error that is none of ours ended the link's thread, and its state was "open" for ever."""
    server = FakeServer(saying(then=error), failing(error), answering)  # type: ignore[arg-type]
    with link_to(server) as link:
        assert isinstance(outcome_of(link, frame(1)), Lost)
        assert isinstance(outcome_of(link, frame(2)), Answered)


def test_comes_back_where_a_transport_cannot_even_begin_or_end() -> None:
    async def stubborn(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        await anext(up)
        try:
            yield pb.Down(welcome=pb.Welcome(epoch=1)).SerializeToString()
            await anext(up)
            yield b"\xff"
        finally:
            raise ValueError("a bug")

    def broken(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        raise ValueError("a bug")

    with link_to(FakeServer(stubborn, broken, answering)) as link:
        assert isinstance(outcome_of(link, frame(1)), Lost)
        assert isinstance(outcome_of(link, frame(2)), Answered)


def test_survives_whoever_is_notified() -> None:
    def notify(state: LinkState) -> None:
        raise ValueError(f"of the caller: {state.is_open}")

    with link_to(FakeServer(answering), notify=notify) as link:
        assert isinstance(outcome_of(link, frame(1)), Answered)


def test_waits_as_long_as_a_full_server_asks() -> None:
    full = failing(RefusedError("full", reason="full", retry_after_s=0.15))
    server = FakeServer(full, full, answering)
    with link_to(server, replace(FAST, slow_s=1.0)) as link:
        until(lambda: link.state.is_open)
    assert all(later - earlier >= 0.15 for earlier, later in pairwise(server.times))


def test_a_server_that_does_not_take_the_edge_is_asked_rarely() -> None:
    """Symptom: an edge with other weights greeted its server several times a second, for two minutes."""
    refusing = failing(RefusedError("other weights", reason="model"))
    server = FakeServer(refusing, refusing, saying(then=RefusedError("damaged", reason="invalid")), answering)
    with link_to(server, replace(FAST, slow_s=0.2)) as link:
        until(lambda: link.state.is_open)
        assert isinstance(outcome_of(link, frame(1)), Lost)
        assert isinstance(outcome_of(link, frame(2)), Answered)
    gaps = [later - earlier for earlier, later in pairwise(server.times)]
    assert min(gaps[:2]) >= 0.2, "a stream that was taken comes back at once, and others do not"


@pytest.mark.parametrize("retry_s", [math.nan, -1.0, math.inf, 1e9])
def test_does_not_wait_as_long_as_an_absurd_server_asks(retry_s: float) -> None:
    server = FakeServer(failing(RefusedError("full", reason="full", retry_after_s=retry_s)), answering)
    with link_to(server, replace(FAST, backoff_s=(0.02, 0.02))) as link:
        until(lambda: link.state.is_open)
    assert server.times[1] - server.times[0] >= 0.01, "and not at once"


def test_two_edges_of_one_name_do_not_take_turns_all_the_time() -> None:
    """Symptom: each took the stream over from the other, ten times a second."""
    taken = RefusedError("the stream was opened anew by the same caller", reason="taken", retry_after_s=0.2)
    server = FakeServer(saying(then=taken), saying(then=taken), answering)
    with link_to(server, replace(FAST, slow_s=1.0)) as link:
        for seq in (1, 2):
            assert isinstance(outcome_of(link, frame(seq)), Lost)
        until(lambda: len(server.times) == 3)
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(server.times))


def test_no_pause_at_first_is_one_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: twice no pause is none, and a server that was away was dialled without end."""
    pauses: list[float] = []
    sleep = CloudLink._sleep

    async def slept(link: CloudLink, seconds: float) -> None:
        pauses.append(seconds)
        await sleep(link, min(seconds, 0.001))

    monkeypatch.setattr(CloudLink, "_sleep", slept)
    monkeypatch.setattr(random, "uniform", lambda least, most: most)
    options = replace(FAST, backoff_s=(0, 0.3), slow_s=1.0)
    with link_to(FakeServer(failing(TransportError("nobody is there"))), options):
        until(lambda: len(pauses) > 5)
    assert pauses[:6] == pytest.approx([0.0, 0.05, 0.1, 0.2, 0.3, 0.3])


@pytest.mark.parametrize("given", [{"backoff_s": (0, 0)}, {"backoff_s": (0.0, 0.0)}, {"slow_s": 0}])
def test_the_largest_pause_is_one(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf"{next(iter(given))} \(=.*above 0"):
        LinkOptions(**given)


def test_a_server_that_drops_what_it_welcomes_is_not_hammered() -> None:
    async def dropping(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        await anext(up)
        yield pb.Down(welcome=pb.Welcome(epoch=1)).SerializeToString()
        raise TransportError("dropped")

    server = FakeServer(dropping)
    with link_to(server, replace(FAST, backoff_s=(0.01, 0.08))):
        until(lambda: len(server.times) > 6)
    assert server.times[6] - server.times[0] >= (0.01 + 0.02 + 0.04 + 0.08 + 0.08 + 0.08) / 2


# --- never waiting for ever -------------------------------------------------------------------------------------------


def test_a_server_that_does_not_welcome() -> None:
    server = FakeServer(saying(welcome=False), answering)
    with link_to(server, replace(FAST, connect_s=0.05)) as link:
        until(lambda: "no answer within 0.05 s" in link.state.reason or link.state.is_open)
        assert isinstance(outcome_of(link, frame(1)), Answered)


def test_a_half_open_link_is_noticed_by_its_silence() -> None:
    """Symptom elsewhere: minutes of waiting for a peer that is gone (grpc 32435, kachaka-api 229)."""
    server = FakeServer(saying(), answering)
    with link_to(server, replace(FAST, silence_s=0.1)) as link:
        until(lambda: link.state.is_open)
        time.sleep(0.2)
        assert len(server.times) == 1, "nothing was sent: there is nothing to hear"
        upload = frame(1)
        assert outcome_of(link, upload) == Lost(reason="no sign of the server for 0.1 s")
        assert 0.1 <= upload.outcome_at - upload.began < 10
        assert isinstance(outcome_of(link, frame(2)), Answered)


def test_a_slow_server_that_gives_signs_is_waited_for() -> None:
    async def slow(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        await anext(up)
        yield pb.Down(welcome=pb.Welcome(epoch=1)).SerializeToString()
        head = read_up(await anext(up))
        for _ in range(12):
            await asyncio.sleep(0.05)
            yield pb.Down(progress=pb.Progress(seq=1, received_bytes=1)).SerializeToString()
        for message in answer_to(head):
            yield message.SerializeToString()
        await asyncio.Event().wait()

    server = FakeServer(slow)
    with link_to(server, replace(FAST, silence_s=0.4)) as link:
        assert isinstance(outcome_of(link, frame(1)), Answered)
    assert len(server.times) == 1


def test_a_server_that_only_gives_signs_is_left() -> None:
    """Symptom: a server whose engine hung kept its edges waiting, and their records without end."""

    async def hanging(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        await anext(up)
        yield pb.Down(welcome=pb.Welcome(epoch=1)).SerializeToString()
        while True:
            yield pb.Down(progress=pb.Progress(seq=1, received_bytes=10**6)).SerializeToString()
            await asyncio.sleep(0.01)

    with link_to(FakeServer(hanging, answering), replace(FAST, frame_s=0.2)) as link:
        assert outcome_of(link, frame(1)) == Lost(reason="the server has not answered for 0.2 s")
        assert isinstance(outcome_of(link, frame(2)), Answered)


def test_what_is_handed_over_while_the_link_is_closed_is_lost_at_once() -> None:
    with link_to(FakeServer(failing(TransportError("down")))) as link:
        upload = frame(1)
        link.submit(upload)
        until(lambda: upload.outcome is not None)
        assert isinstance(upload.outcome, Lost)


@pytest.mark.parametrize(
    "server",
    [
        FakeServer(answering),
        FakeServer(saying(welcome=False)),
        FakeServer(failing(TransportError("down"))),
        FakeServer(failing(RefusedError("full", reason="full", retry_after_s=100.0))),
    ],
)
def test_closing_ends_the_link_in_any_state(server: FakeServer) -> None:
    link = CloudLink(server, pb.Hello(), replace(FAST, connect_s=60.0, slow_s=100.0))
    until(lambda: bool(server.times))
    time.sleep(0.02)
    began = time.monotonic()
    link.close()
    link.close()
    assert time.monotonic() - began < 5 and not link.state.is_open
    asyncio.run_coroutine_threadsafe(nothing_left(), LINKS.loop).result(5)


async def nothing_left() -> None:
    """All links of a process share a loop: what one of them leaves behind would stay."""
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.001)


# --- draining ---------------------------------------------------------------------------------------------------------


def test_a_drain_lets_the_frame_under_way_finish_and_leaves() -> None:
    drain = pb.Down(drain=pb.Drain(deadline_ms=1000))
    server = FakeServer(saying(drain, *answer_to_seq(1)), answering)
    seen: list[LinkState] = []
    with link_to(server, notify=seen.append) as link:
        assert isinstance(outcome_of(link, frame(1)), Answered)
        until(lambda: len(server.times) == 2 and link.state.is_open)
        assert isinstance(outcome_of(link, frame(2)), Answered)
    assert [state.reason for state in seen[:3]] == ["", "the server is about to stop", ""]


def test_nothing_is_sent_to_a_server_that_drains() -> None:
    async def draining(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        await anext(up)
        yield pb.Down(welcome=pb.Welcome(epoch=1)).SerializeToString()
        yield pb.Down(drain=pb.Drain()).SerializeToString()
        await anext(up)
        raise AssertionError("a frame came")

    with link_to(FakeServer(draining, saying(welcome=False)), replace(FAST, connect_s=60.0)) as link:
        until(lambda: link.state.reason == "the server is about to stop")
        link.submit(upload := frame(1))
        until(lambda: upload.outcome is not None)
        assert upload.outcome == Lost(reason="the server is about to stop", sent=False)


# --- a server that cannot be trusted ----------------------------------------------------------------------------------

RESULT = pb.Result(seq=1)


@pytest.mark.parametrize(
    "messages",
    [
        [b"\xff\xff"],
        [b""],
        [bytes(MAX_MESSAGE_BYTES + 1)],
        [pb.Down(welcome=pb.Welcome(epoch=2))],
        [pb.Down(chunk=pb.Chunk(seq=1, data=b"x"))],
        [pb.Down(result=pb.Result(seq=1, answer_bytes=MAX_ANSWER_BYTES + 1))],
        [pb.Down(result=pb.Result(seq=1, answer_bytes=2**32 - 1))],
        [pb.Down(result=pb.Result(seq=1, answer_bytes=9000))] * 2,
        [pb.Down(result=pb.Result(seq=1, answer_bytes=9000)), pb.Down(chunk=pb.Chunk(seq=1, data=b"x"))],
        [pb.Down(result=pb.Result(seq=1, answer_bytes=9000)), pb.Down(chunk=pb.Chunk(seq=1, data=bytes(9001)))],
        [pb.Down(result=pb.Result(seq=1, answer_bytes=9000)), pb.Down(chunk=pb.Chunk(seq=1, offset=9, data=b"x"))],
        [pb.Down(result=pb.Result(seq=1, answer_bytes=9000)), pb.Down(chunk=pb.Chunk(seq=2, data=bytes(9000)))],
        [pb.Down(result=pb.Result(seq=1, answer_bytes=1, answer_crc32=5)), pb.Down(chunk=pb.Chunk(seq=1, data=b"x"))],
        [pb.Down(result=pb.Result(seq=1, wait_ms=math.nan))],
        [pb.Down(result=pb.Result(seq=1, wait_ms=math.inf))],
        [pb.Down(result=pb.Result(seq=1, inference_ms=-1.0))],
        [pb.Down(result=pb.Result(seq=1, work=math.nan))],
        [pb.Down(result=pb.Result(seq=1, upload_ms=-math.inf))],
    ],
)
def test_messages_that_are_not_allowed_end_the_connection(messages: list[pb.Down | bytes]) -> None:
    server = FakeServer(saying(*messages), answering)
    with link_to(server) as link:
        outcome = outcome_of(link, frame(1))
        assert isinstance(outcome, Lost) and outcome.reason
        assert isinstance(outcome_of(link, frame(2)), Answered)
        assert math.isfinite(link.state.wait_ms)
    assert len(server.times) == 2


@pytest.mark.parametrize("first", [b"", b"\xff", pb.Down(drain=pb.Drain()).SerializeToString()])
def test_first_messages_that_are_no_welcome(first: bytes) -> None:
    server = FakeServer(saying(first, welcome=False), answering)
    with link_to(server) as link:
        until(lambda: link.state.is_open)
    assert len(server.times) == 2


# --- what waits -------------------------------------------------------------------------------------------------------


def test_a_slow_network_holds_back_and_what_waits_is_counted_and_can_be_dropped() -> None:
    gate, taken = threading.Event(), list[int]()

    async def slow(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        await anext(up)
        yield pb.Down(welcome=pb.Welcome(epoch=1)).SerializeToString()
        while True:
            while not gate.is_set():
                await asyncio.sleep(0.001)
            message = read_up(await anext(up))
            taken.append(message.packet.number)
            for answer in answer_to(message):
                yield answer.SerializeToString()

    def packet(number: int) -> bytes:
        return pb.Up(packet=pb.Packet(number=number, data=bytes(100))).SerializeToString()

    with link_to(FakeServer(slow)) as link:
        until(lambda: link.state.is_open)
        for number in range(1, 11):
            link.forward([packet(number)])
        until(lambda: link.backlog_bytes == 10 * len(packet(1)))
        link.submit(upload := frame(11))
        link.drop_waiting()
        until(lambda: upload.outcome is not None)
        assert upload.outcome == Refused(wait_ms=0.0) and link.backlog_bytes == 0 and link.state.is_open
        gate.set()
        assert isinstance(outcome_of(link, frame(12)), Answered)
    assert taken == [0], "nothing of what was dropped"


@pytest.mark.parametrize("only_frame", [True, False])
def test_pixels_of_a_frame_that_was_refused_are_not_sent(only_frame: bool) -> None:
    """Symptom: a keyframe that was needed waited for the rest of the frame that could not be run."""
    seen: list[str | None] = []

    async def refusing(up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        await anext(up)
        yield pb.Down(welcome=pb.Welcome(epoch=1)).SerializeToString()
        async for data in up:
            message = read_up(data)
            seen.append(message.WhichOneof("kind"))
            if message.frame.seq == 1:
                yield pb.Down(need_key=pb.NeedKey(seq=1)).SerializeToString()
                await asyncio.sleep(0.05)
            for answer in answer_to(message) if message.frame.seq == 2 else ():
                yield answer.SerializeToString()

    def upload(seq: int) -> Upload:
        plain = frame(seq, 2000)
        return Upload(seq, [plain.messages[0], *[plain.messages[1]] * 5], lambda: None, only_frame=only_frame)

    with link_to(FakeServer(refusing)) as link:
        assert isinstance(outcome_of(link, upload(1)), KeyNeeded)
        assert isinstance(outcome_of(link, upload(2)), Answered)
        until(lambda: link.backlog_bytes == 0)
    assert seen[: 2 if only_frame else 7] == ["frame", *["chunk"] * (0 if only_frame else 5), "frame"]


def test_the_wall_clock_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (-1) ** next(jumps))
    server = FakeServer(saying(then=TransportError("cut")), answering)
    with link_to(server) as link:
        assert isinstance(outcome_of(link, frame(1)), Lost)
        assert isinstance(outcome_of(link, frame(2)), Answered)
