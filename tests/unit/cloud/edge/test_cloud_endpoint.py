"""The server's half as the edge knows it: what is assumed of a frame under way, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from fluxshard.cloud.edge.caches.told_cache import ToldCache
from fluxshard.cloud.edge.cloud_endpoint import CloudEndpoint, Flight
from fluxshard.cloud.edge.connection.link import LinkState
from fluxshard.cloud.edge.connection.upload import Answered, KeyNeeded, Lost, Outcome, Refused, Upload
from fluxshard.cloud.edge.estimates import Estimates
from fluxshard.cloud.edge.payload.sparse import SparsePayload
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.wire.messages import MAX_MESSAGE_BYTES, read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.raw_payload import RawPayload
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.mirror import Mirror
from fluxshard.runtime.endpoints.policies import cloud_policy
from fluxshard.runtime.endpoints.work_order import work_orders
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.testing.offload.two_places import SIZE, fake_model, moving_frames
from fluxshard.video.frame import Frame

REUSE = ReuseOptions(policy="planned", scene_cut=1.0)
ANSWERED = Answered(result=pb.Result(inference_ms=5.0, decode_ms=1.0), answer=b"")
PROFILE = LatencyModel(base_ms=1.0, slopes_ms=(1.0,), knots=((0.0, 1.0), (1.0, 2.0)), error=0.1, samples=8)


class StillLink:
    """A link that does nothing; a test says what becomes of what is handed to it."""

    def __init__(self) -> None:
        self.state = LinkState()
        self.uploads: list[Upload] = []
        self.forwarded: list[bytes] = []
        self.backlog_bytes = self.dropped = self.closed = 0
        self.open(1)

    def open(self, epoch: int, latency_model: bytes = b"") -> None:
        welcome = pb.Welcome(epoch=epoch, latency_model=latency_model)
        self.state = LinkState(is_open=True, epoch=epoch, welcome=welcome, reason="", credit_bytes=1 << 20)

    def submit(self, upload: Upload) -> None:
        self.uploads.append(upload)

    def forward(self, messages: list[bytes]) -> None:
        self.forwarded += messages

    def drop_waiting(self) -> None:
        self.dropped += 1

    def close(self) -> None:
        self.closed += 1


class SomePackets(SparsePayload):
    """A payload that has something to say of frames that the server does not run."""

    interrupted = 0

    def interrupt(self) -> None:
        self.interrupted += 1

    def forward(self, frame: Frame) -> list[bytes]:
        return [b"packet"]


class Bench:
    """An endpoint on a link that a test holds."""

    def __init__(self) -> None:
        program = fake_model().program
        orders = work_orders(program.engine.plan, REUSE)
        self.link, self.estimates, self.woken = StillLink(), Estimates(), list[int]()
        self.payload = SomePackets(RawPayload(*SIZE), orders, SIZE)
        self.mirror = Mirror(cloud_policy(program, REUSE, sparse_image=True), SIZE)
        link: Any = self.link
        cache = ToldCache(self.mirror, orders, lambda _: (0.5,), self.estimates)
        self.endpoint = CloudEndpoint(link, cache, self.payload, self.estimates, wake=lambda: self.woken.append(1))
        self.frames = iter(moving_frames(50))

    def send(self, answer: bool = True) -> Flight:
        """The next frame, as a session would."""
        frame = next(self.frames)
        self.endpoint.advance(frame.motion)
        assert self.endpoint.closed_because(frame) == ""
        work = self.endpoint.expect(frame.image)
        return self.endpoint.send(frame, work, record(), answer=answer, budget_ms=70)

    def skip(self) -> Frame:
        """The next frame runs on the edge."""
        frame = next(self.frames)
        self.endpoint.advance(frame.motion)
        return frame

    def end(self, flight: Flight, outcome: Outcome) -> PlacementRecord:
        flight.upload.finish(outcome)
        self.endpoint.settle()
        return flight.record


def record() -> PlacementRecord:
    inputs = DispatchInputs(edge_ms=None, cloud_ms=None)
    decision = Decision(endpoint="cloud", edge_ms=None, cloud_ms=None, reason="")
    return PlacementRecord(frame=0, inputs=inputs, decision=decision)


def head(flight: Flight) -> pb.Frame:
    return read_up(flight.upload.messages[0]).frame


def test_frames_build_on_the_one_before() -> None:
    bench = Bench()
    for number in range(1, 4):
        flight = bench.send(answer=number != 2)
        sent = head(flight)
        assert (sent.seq, sent.epoch, sent.keyframe, sent.wants_answer) == (number, 1, number == 1, number != 2)
        assert sent.budget_ms == 70 and (number == 1 or sent.base_seq == number - 1)
        assert bench.endpoint.closed_because(next(moving_frames(1))) == "a frame is under way"
        done = bench.end(flight, ANSWERED)
        assert (done.cloud_outcome, done.cloud_ran, done.refreshed) == ("answered", True, number == 2)
        assert done.bytes_sent == flight.upload.n_bytes > 0 and done.server is not None
        assert done.cloud_ms is not None and done.server["inference_ms"] == 5.0
        assert bench.endpoint.flight is None and not bench.mirror.is_fresh
    assert bench.estimates.cloud.frames == 3 and len(bench.woken) == 3


def test_a_frame_under_way_is_assumed_to_run_when_the_next_one_comes() -> None:
    bench = Bench()
    bench.end(bench.send(), ANSWERED)
    flight = bench.send()
    assert bench.mirror.age == 1 and not flight.is_committed
    bench.skip()
    assert bench.mirror.age == 1 and flight.is_committed, "one frame since the one under way"
    bench.end(flight, ANSWERED)
    assert head(bench.send()).base_seq == 2


@pytest.mark.parametrize(
    ("outcome", "name", "reason"),
    [
        (Refused(wait_ms=9.0), "refused", ""),
        (KeyNeeded(reason="nothing is cached"), "key needed", "nothing is cached"),
        (Lost(reason="cut"), "lost", "cut"),
        (Lost(reason="closed", sent=False), "not sent", "closed"),
    ],
)
@pytest.mark.parametrize("assumed", [False, True])
def test_what_did_not_run(outcome: Outcome, name: str, reason: str, assumed: bool) -> None:
    """Only a refusal that comes before anything was built on the frame leaves the cache as good as it was."""
    bench = Bench()
    bench.end(bench.send(), ANSWERED)
    flight = bench.send()
    if assumed:
        bench.skip()
    done = bench.end(flight, outcome)
    assert (done.cloud_outcome, done.cloud_reason, done.cloud_ran) == (name, reason, False)
    after = head(bench.send())
    keeps = name == "refused" and not assumed
    assert after.keyframe is not keeps and after.seq == 3
    if keeps:
        assert after.base_seq == 1


def test_regions_wait_for_no_outcome() -> None:
    bench = Bench()
    bench.end(bench.send(), ANSWERED)
    flight = bench.send()
    bench.endpoint.focus(torch.zeros(4, 6, dtype=torch.uint8).numpy())
    assert flight.is_committed
    bench.end(flight, ANSWERED)


@pytest.mark.parametrize("epoch", [1, 2])
def test_another_connection_knows_nothing(epoch: int) -> None:
    """A server that was restarted counts its epochs from 1 again."""
    bench = Bench()
    bench.end(bench.send(), ANSWERED)
    interrupted = bench.payload.interrupted
    bench.link.state = replace(bench.link.state, is_open=False, reason="cut")
    bench.skip()
    assert bench.endpoint.closed_because(next(moving_frames(1))) == "cut"
    bench.link.open(epoch)
    sent = head(bench.send())
    assert sent.keyframe and sent.epoch == epoch and bench.payload.interrupted == interrupted + 1


def test_a_connection_that_opens_while_a_frame_is_decided() -> None:
    """Symptom: the frame went out as one of the connection before, and the server needed a key."""
    bench = Bench()
    bench.end(bench.send(), ANSWERED)
    frame = bench.skip()
    bench.link.open(2)
    assert bench.endpoint.closed_because(frame) == "the link has just opened"
    assert head(bench.send()).epoch == 2


def test_a_server_that_has_decoded_other_pixels_is_told_all_of_them_again() -> None:
    bench = Bench()
    flight = bench.send()
    flight.digest = 5
    done = bench.end(flight, Answered(result=pb.Result(pixels_digest=6), answer=b""))
    assert "other pixels" in done.cloud_reason and bench.endpoint.advance(None) and bench.mirror.is_fresh
    flight = bench.send()
    flight.digest = 5
    bench.end(flight, Answered(result=pb.Result(pixels_digest=5), answer=b""))
    assert not bench.mirror.is_fresh


def test_a_video_that_was_interrupted_goes_on_with_a_keyframe() -> None:
    bench = Bench()
    bench.end(bench.send(), ANSWERED)
    interrupted = bench.payload.interrupted
    bench.end(bench.send(), KeyNeeded(reason="r"))
    assert bench.payload.interrupted == interrupted
    bench.end(bench.send(), KeyNeeded(reason="r", video=True))
    assert bench.payload.interrupted == interrupted + 1


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_frame_that_the_server_would_not_take_is_not_sent() -> None:
    """Symptom: it ended the stream, again and again, at every size of image whose keyframe is larger than allowed."""
    bench = Bench()
    bench.link.state = replace(bench.link.state, credit_bytes=3 * SIZE[0] * SIZE[1] - 1)
    flight = bench.send()
    assert bench.link.uploads == [] and isinstance(flight.upload.outcome, Refused)
    done = bench.end(flight, Lost(reason="later"))
    assert done.cloud_outcome == "refused" and "larger than the server allows" in done.cloud_reason
    assert done.bytes_sent == 0 and bench.mirror.is_fresh
    bench.link.state = replace(bench.link.state, credit_bytes=1 << 20)
    assert head(bench.send()).keyframe and len(bench.link.uploads) == 1


def test_a_head_that_is_larger_than_a_message_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(bench.payload, "messages", lambda *_: [bytes(MAX_MESSAGE_BYTES + 1)])
    done = bench.end(bench.send(), Lost(reason="later"))
    assert bench.link.uploads == [] and "motion and masks" in done.cloud_reason


def test_the_size_of_frames_is_learnt() -> None:
    bench = Bench()
    frame = bench.skip()
    work = bench.endpoint.expect(frame.image)
    assert bench.endpoint.expected_bytes(frame, work) == 3 * SIZE[0] * SIZE[1]
    for _ in range(30):
        bench.end(bench.send(), Refused(wait_ms=0.0))
    found = bench.endpoint.expected_bytes(frame, work)
    assert 3 * SIZE[0] * SIZE[1] < found < 3.2 * SIZE[0] * SIZE[1], "with the heads of messages"


# --- video ------------------------------------------------------------------------------------------------------------


def test_what_the_server_only_decodes_goes_up_while_it_can() -> None:
    bench = Bench()
    assert bench.endpoint.forward(bench.skip()) == 6 and bench.link.forwarded == [b"packet"]
    bench.link.backlog_bytes = 200 << 10
    interrupted = bench.payload.interrupted
    assert (
        bench.endpoint.forward(bench.skip()) == 0
        and bench.link.dropped == 1
        and bench.payload.interrupted == interrupted + 1
    )
    bench.link.state = replace(bench.link.state, is_open=False)
    assert bench.endpoint.forward(bench.skip()) == 0 and bench.link.forwarded == [b"packet"]


# --- the server's own profile -----------------------------------------------------------------------------------------


def profile_of(change: Callable[[dict[str, Any]], Any]) -> bytes:
    body = asdict(PROFILE)
    change(body)
    return json.dumps(body).encode()


def test_a_profiled_server_need_not_be_measured() -> None:
    bench = Bench()
    bench.link.open(2, profile_of(lambda body: None))
    bench.skip()
    assert bench.estimates.cloud.model == PROFILE
    bench.end(bench.send(), ANSWERED)
    bench.link.open(3, profile_of(lambda body: body.update(base_ms=5.0)))
    bench.skip()
    assert bench.estimates.cloud.model == PROFILE, "what was measured counts for more"


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff",
        b"7",
        b"null",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        profile_of(lambda body: body.pop("knots")),
        profile_of(lambda body: body.update(base_ms=float("nan"))),
        profile_of(lambda body: body.update(slopes_ms=[float("inf")])),
        profile_of(lambda body: body.update(samples=float("inf"))),
        profile_of(lambda body: body.update(error=10**400)),
        profile_of(lambda body: body.update(knots=[[1.0, 2.0], [0.0, 1.0]])),
        profile_of(lambda body: body.update(slopes_ms=7)),
    ],
)
def test_profiles_that_are_none(sent: bytes) -> None:
    bench = Bench()
    bench.link.open(2, sent)
    bench.skip()
    assert bench.estimates.cloud.model is None and head(bench.send()).epoch == 2


def test_closing_leaves_no_frame_open() -> None:
    bench = Bench()
    flight = bench.send()
    bench.endpoint.close()
    assert bench.link.closed == 1 and flight.record.cloud_outcome == "lost" and bench.endpoint.flight is None
