"""Orders and reports as lines."""

from __future__ import annotations

import pytest

from fluxshard.cloud.cluster.worker.messages import (
    Beat,
    Describe,
    Description,
    Done,
    Grant,
    Release,
    Report,
    Revoke,
    Stop,
    decode,
    encode,
)
from fluxshard.errors import WireError

MESSAGES = [
    Describe(),
    Beat(lease_s=1.0),
    Beat(lease_s=1.0, heard_s=12.5),
    Grant(stream="cam/1", identity="edge", epoch=2**53, open_s=5.0),
    Revoke(stream="cam/1", epoch=3),
    Release(stream="cam/1", epoch=3, deadline_s=1.0),
    Stop(),
    Description(address="127.0.0.1:1", max_streams=72, pid=5),
    Report(sent_s=1.5, ended=(("a", 1), ("b", 2)), work_s={"a": 0.25}, streams=2, running_s=0.5, is_leaving=True),
    Done(),
    Done(is_leaving=True),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_come_back_as_they_were(message) -> None:
    line = encode(7, message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode(line) == (7, message)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[1]", b'[1,"Nothing",{}]', b'[1,"Beat",{"other":1}]', b'[1,"Report",{"sent_s":1,"ended":[1]}]'],
)
def test_what_is_no_message_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(WireError):
        decode(line)
