"""One name, several callers: whoever proves to be the same takes over at once, and anybody else is refused.

Symptom elsewhere: a second publisher hijacks the name (bluenviron/mediamtx 911, 5242), or the own reconnection is
refused because of a connection that is long dead (arut/nginx-rtmp-module 1152).
"""

from __future__ import annotations

import time

from fluxshard.cloud.server.limits import Caller
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from tests.offload.streams import Stream, serving, until

ALICE, BOB = Caller(identity="alice"), Caller(identity="bob")


def test_a_frozen_edge_comes_back_under_its_own_name() -> None:
    with serving() as server:
        frozen = Faults()
        first = Stream(InProcessTransport(server, ALICE, frozen))
        first.warm()
        epoch = first.session.link.epoch
        frozen.silent = True
        late = first.run()
        assert late.answered_by == "edge"
        second = Stream(InProcessTransport(server, ALICE))
        second.warm()
        assert second.session.link.epoch > epoch
        stranger = Stream(InProcessTransport(server, BOB))
        stranger.run()
        until(lambda: "belongs to another caller" in stranger.session.link.reason)
        stranger.run(3)
        assert all(record.answered_by == "edge" for record in stranger.records)
        second.run_until(lambda record: record.answered_by == "cloud" and not record.cloud_keyframe)
        # what the first connection still had on its way counts for nothing
        frozen.silent = False
        until(lambda: not first.session.link.is_open)
        assert first.session.link.reason == "the stream was opened anew by the same caller"
        first.run(3)
        assert all(record.answered_by == "edge" for record in first.records[-3:]) and not late.cloud_ran
        before = len(second.outputs)
        second.run_until(lambda record: record.answered_by == "cloud" and record.frame > before + 3)
        assert second.session.link.epoch > epoch and second.session.link.is_open
        for stream in (first, second, stranger):
            stream.check()


def test_two_edges_with_one_name_do_not_fight() -> None:
    """The one that was taken over asks again after seconds; both answer all their frames."""
    with serving() as server:
        first, second = (Stream(InProcessTransport(server, ALICE)) for _ in range(2))
        first.warm()
        second.warm()
        until(lambda: not first.session.link.is_open)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            first.run()
            second.run()
        assert second.session.link.is_open and second.session.link.epoch <= 3
        assert second.records[-1].cloud_ran
        for stream in (first, second):
            stream.check()


def test_streams_of_one_caller_with_names_of_their_own() -> None:
    with serving() as server:
        streams = [Stream(InProcessTransport(server, ALICE), stream=f"camera{number}") for number in range(3)]
        for stream in streams:
            stream.warm()
        for _ in range(5):
            for stream in streams:
                stream.run()
        assert server.connected == 3
        for stream in streams:
            assert stream.session.link.is_open
            stream.check()
