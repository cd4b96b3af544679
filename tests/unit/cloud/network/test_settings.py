"""Settings of both ends."""

from __future__ import annotations

import math

import pytest

from fluxshard.cloud.network.settings import METHOD, Keepalive, client_options, server_options
from fluxshard.cloud.wire.messages import MAX_MESSAGE_BYTES
from fluxshard.cloud.wire.proto import offload_pb2
from fluxshard.errors import OptionError


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_times_that_are_none(seconds: float) -> None:
    with pytest.raises(OptionError, match="keepalive"):
        Keepalive(every_s=seconds)
    with pytest.raises(OptionError, match="keepalive"):
        Keepalive(patience_s=seconds)


def test_both_ends_allow_the_same_messages_and_no_more() -> None:
    for options in (client_options(Keepalive()), server_options(Keepalive())):
        names = dict(options)
        assert names["grpc.max_receive_message_length"] == names["grpc.max_send_message_length"] == MAX_MESSAGE_BYTES
        assert len(names) == len(options)


def test_a_server_never_lets_calls_wait() -> None:
    assert not [name for name, _ in server_options(Keepalive()) if "max_concurrent" in name]


def test_the_method_is_in_the_protocols_package() -> None:
    assert METHOD.startswith(f"/{offload_pb2.DESCRIPTOR.package}.")
