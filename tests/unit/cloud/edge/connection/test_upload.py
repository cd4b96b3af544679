"""A frame on its way: progress is what the server has, and the first outcome counts."""

from __future__ import annotations

import pytest

from fluxshard.cloud.edge.connection import upload as module
from fluxshard.cloud.edge.connection.upload import KeyNeeded, Lost, Refused, Upload


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_messages_are_taken_once_and_in_order() -> None:
    upload = Upload(3, [b"head", b"one", b"two"], lambda: None)
    assert upload.n_bytes == 10
    assert [upload.next_message(50) for _ in range(4)] == [b"head", b"one", b"two", None]


@pytest.mark.parametrize("only_frame", [True, False])
def test_what_is_left_of_a_frame_that_was_refused(only_frame: bool) -> None:
    upload = Upload(3, [b"head", b"one", b"two"], lambda: None, only_frame=only_frame)
    upload.next_message(0)
    assert upload.left_bytes == 6
    upload.finish(Refused(wait_ms=0.0))
    assert upload.next_message(4) == (None if only_frame else b"one")
    assert upload.left_bytes == (6 if only_frame else 3)


def test_progress_is_of_this_frame_though_others_went_before(clock: list[float]) -> None:
    upload = Upload(1, [b"head", b"12345678"], lambda: None)
    upload.acknowledge(500)
    assert upload.acked_bytes == 0 and upload.head_round_trip_s is None, "nothing of it has been sent"
    upload.next_message(500)
    clock[0] = 100.5
    upload.acknowledge(490)
    assert upload.acked_bytes == 0 and upload.head_round_trip_s is None, "that was of the frame before"
    upload.acknowledge(504)
    assert upload.acked_bytes == 4 and upload.head_round_trip_s == 0.5
    clock[0] = 101.0
    assert upload.silent_s(101.0) == 0.5 and upload.waiting_s(101.0) == 0.0
    upload.acknowledge(502)
    assert upload.acked_bytes == 4, "progress does not go back"
    upload.acknowledge(10**18)
    assert upload.acked_bytes == 12 and upload.waiting_s(101.25) == 0.25
    clock[0] = 102.0
    upload.acknowledge(10**18)
    assert upload.waiting_s(102.0) == 1.0, "it has waited since all of it was there"
    upload.hear()
    assert upload.silent_s(102.5) == 0.5


def test_silence_counts_from_the_start(clock: list[float]) -> None:
    assert Upload(1, [b"head"], lambda: None).silent_s(103.0) == 3.0


def test_the_first_outcome_counts_and_wakes_once(clock: list[float]) -> None:
    woken: list[int] = []
    upload = Upload(1, [b"head"], lambda: woken.append(1))
    assert upload.outcome is None
    clock[0] = 101.0
    upload.finish(Refused(wait_ms=5.0))
    clock[0] = 102.0
    upload.finish(Lost(reason="later"))
    upload.finish(KeyNeeded(reason="later"))
    assert upload.outcome == Refused(wait_ms=5.0) and upload.outcome_at == 101.0 and woken == [1]


def test_what_was_handed_over_before_is_left_to_arrive_too() -> None:
    upload = Upload(1, [b"head", b"12345678"], lambda: None)
    assert upload.left_to_arrive(100) == 112
    assert upload.next_message(1000) == b"head"
    assert upload.left_to_arrive(100) == 112, "nothing was heard of the server yet"
    for received, left in ((950, 62), (1000, 12), (1004, 8), (1012, 0)):
        upload.acknowledge(received)
        assert upload.left_to_arrive(100) == left
