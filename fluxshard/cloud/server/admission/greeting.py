"""What callers say first: checked before anything is made for them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from fluxshard.cloud.security.identity import Identity
from fluxshard.cloud.server.limits import Caller
from fluxshard.cloud.wire.messages import PROTOCOL, read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import RefusedError, WireError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


async def greeting(up: AsyncIterator[bytes], within_s: float) -> pb.Hello:
    """The first message of a stream.

    Args:
      up: its messages.
      within_s: that it has to come.

    Raises:
      RefusedError: it does not come, or is no greeting in this version of the protocol.
    """
    try:
        async with asyncio.timeout(within_s):
            data = await anext(up)
    except TimeoutError:
        raise RefusedError("no greeting came in time", reason="invalid") from None
    except StopAsyncIteration:
        raise RefusedError("the stream ended before its greeting", reason="invalid") from None
    try:
        message = read_up(data)
    except WireError as error:
        raise RefusedError(str(error), reason="invalid") from None
    if message.WhichOneof("kind") != "hello":
        raise RefusedError("the first message is not a greeting", reason="invalid")
    if message.hello.protocol != PROTOCOL:
        raise RefusedError(f"the server speaks version {PROTOCOL} of the protocol", reason="protocol")
    return message.hello


def stream_name(hello: pb.Hello, caller: Caller) -> str:
    """The name of the stream that is greeted for.

    Raises:
      RefusedError: it is no name, or not one that the caller may open.
    """
    if not _NAME.fullmatch(hello.stream):
        raise RefusedError("the stream's name is not allowed: letters, digits and ._/- only", reason="invalid")
    if not Identity(name=caller.identity, prefix=caller.prefix).may_open(hello.stream):
        raise RefusedError("the caller may not open a stream of this name", reason="identity")
    return hello.stream
