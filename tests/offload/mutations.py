"""Streams of messages as an edge sends them, and what may become of them on the way, by accident or on purpose."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError, Message

from fluxshard.cloud.edge.session_parts import LocalModel
from fluxshard.cloud.wire.messages import MAX_MESSAGE_BYTES, checksum
from fluxshard.cloud.wire.payload import make_payload
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.options import ReuseOptions
from fluxshard.testing.offload.scripted_edge import ScriptedFrames, hello_of
from fluxshard.testing.offload.two_places import SIZE, moving_frames

Messages = list[bytes]

BOMB = bytes.fromhex("28b52ffde06c06060663636363")
INTEGERS = (0, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (0.0, -1.0, 0.5, 1e300, 1e-300, float("nan"), float("inf"), -float("inf"))
TEXTS = ("", "a", "\x00", "../../etc/passwd", "é" * 50, "x" * 5000, "{}", "[" * 1000, "null", "raw", "jpeg", "outputs")


def recorded(model: LocalModel, reuse: ReuseOptions, n: int, **hello: Any) -> Messages:
    """What an edge says that runs `n` frames on a server, if it is the server's first edge."""
    name = hello.get("payload", "raw")
    frames = ScriptedFrames(model, reuse, codec=make_payload(name, *SIZE))
    said: list[Message] = [pb.Up(hello=hello_of(model, reuse, **hello))]
    for frame in moving_frames(n):
        said += frames.messages(frame, 1)
    return [message.SerializeToString() for message in said]


def mutated(rng: random.Random, corpus: list[Messages]) -> Messages:
    """A stream of the corpus, changed in one to four ways."""
    messages = list(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        rng.choice(WAYS)(rng, messages, corpus)
    return repaired(messages) if rng.random() < 0.5 else messages


def repaired(messages: Messages) -> Messages:
    """With sizes and checksums that fit, so that what was changed is read."""
    read = [parsed(data) for data in messages]
    found = list(messages)
    for index, message in enumerate(read):
        if message is None or message.WhichOneof("kind") != "frame":
            continue
        payload = b""
        for later in read[index + 1 :]:
            kind = None if later is None else later.WhichOneof("kind")
            if later is None or kind == "frame":
                break
            if kind == "chunk":
                payload += later.chunk.data
        message.frame.payload_bytes = len(payload)
        message.frame.payload_crc32 = checksum(message.frame.motion, message.frame.masks, payload)
        found[index] = message.SerializeToString()
    return found


def parsed(data: bytes) -> pb.Up | None:
    message = pb.Up()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return message


# --- whole messages ---------------------------------------------------------------------------------------------------


def drop(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    if messages:
        del messages[rng.randrange(len(messages))]


def repeat(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    if messages:
        message = rng.choice(messages)
        messages[(at := rng.randrange(len(messages))) : at] = [message] * rng.choice((1, 1, 2, 20))


def swap(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    if messages:
        a, b = rng.randrange(len(messages)), rng.randrange(len(messages))
        messages[a], messages[b] = messages[b], messages[a]


def shuffle(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    rest = messages[1:]
    rng.shuffle(rest)
    messages[1:] = rest


def cut(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    del messages[rng.randrange(len(messages) + 1) :]


def splice(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    other = rng.choice(corpus)
    messages[rng.randrange(len(messages) + 1) :] = other[rng.randrange(len(other)) :]


def insert(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    kinds: list[Message] = [
        pb.Up(cancel=pb.Cancel(seq=rng.choice(INTEGERS))),
        pb.Up(chunk=pb.Chunk(seq=rng.choice((0, 1, 2)), data=rng.randbytes(rng.choice((0, 1, 2000))))),
        pb.Up(packet=pb.Packet(number=rng.choice(INTEGERS), total_bytes=rng.choice(INTEGERS) % 2**32)),
        pb.Up(frame=pb.Frame(seq=rng.choice(INTEGERS), keyframe=True, payload_bytes=rng.choice(INTEGERS) % 2**32)),
        pb.Down(result=pb.Result(seq=1)),
        pb.Down(welcome=pb.Welcome(epoch=1)),
        pb.Up(),
    ]
    messages.insert(rng.randrange(len(messages) + 1), rng.choice(kinds).SerializeToString())


# --- bytes ------------------------------------------------------------------------------------------------------------


def some(rng: random.Random, messages: Messages, change: Callable[[bytes], bytes]) -> None:
    if messages:
        at = rng.randrange(len(messages))
        messages[at] = change(messages[at])


def flip(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    def change(data: bytes) -> bytes:
        found = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            if found:
                found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
        return bytes(found)

    some(rng, messages, change)


def shorten(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    some(rng, messages, lambda data: data[: rng.randrange(len(data) + 1)])


def lengthen(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    some(rng, messages, lambda data: data + rng.randbytes(rng.choice((1, 10, 1000))))


def swell(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    some(rng, messages, lambda data: data + bytes(MAX_MESSAGE_BYTES))


def scramble(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    some(rng, messages, lambda data: rng.randbytes(rng.choice((0, 1, len(data), 100))))


# --- fields -----------------------------------------------------------------------------------------------------------


def field(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    """Sets a field of a message to something that it should not be."""

    def change(data: bytes) -> bytes:
        message = parsed(data)
        kind = None if message is None else message.WhichOneof("kind")
        if message is None or kind is None:
            return data
        inner = getattr(message, kind)
        described = rng.choice(list(inner.DESCRIPTOR.fields))
        before = getattr(inner, described.name)
        setattr(inner, described.name, other_value(rng, before))
        return message.SerializeToString()

    some(rng, messages, change)


def options(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    """Changes a value of the greeting's options of reuse."""
    message = parsed(messages[0]) if messages else None
    if message is not None and message.WhichOneof("kind") == "hello":
        message.hello.reuse = reuse_text(rng, message.hello.reuse)
        messages[0] = message.SerializeToString()


def part(rng: random.Random, messages: Messages, corpus: list[Messages]) -> None:
    """Damages motion, masks or pixels of a message."""

    def change(data: bytes) -> bytes:
        message = parsed(data)
        kind = None if message is None else message.WhichOneof("kind")
        if message is None or kind not in ("frame", "chunk"):
            return data
        inner, name = (message.chunk, "data") if kind == "chunk" else (message.frame, rng.choice(("motion", "masks")))
        found = bytearray(getattr(inner, name))
        for _ in range(rng.choice((1, 2, 5))):
            if found:
                found[rng.randrange(len(found))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        setattr(inner, name, bytes(found))
        return message.SerializeToString()

    some(rng, messages, change)


def other_value(rng: random.Random, before: Any) -> Any:
    """Another value of the same type; integers fit 32 bits where the one before does, so that any field takes them."""
    if isinstance(before, bool):
        return not before
    if isinstance(before, int):
        return rng.choice((*INTEGERS, before + 1, max(0, before - 1))) % 2**32
    if isinstance(before, float):
        return rng.choice(FLOATS)
    if isinstance(before, bytes):
        return rng.choice(
            (b"", BOMB, before[:-1], before * 2, before[::-1], rng.randbytes(50), b"\x08\x00\x00\x00" + BOMB)
        )
    return rng.choice((*TEXTS, before[:-1], before + "a", reuse_text(rng, before)))


def reuse_text(rng: random.Random, before: str) -> str:
    """JSON with another value somewhere."""
    try:
        body = json.loads(before)
    except (ValueError, RecursionError):
        return before
    where = body
    while isinstance(where, dict) and where:
        name = rng.choice(list(where))
        if not isinstance(where[name], dict) or rng.random() < 0.3:
            where[name] = rng.choice((None, True, -1, 10**400, 1e308, "a", [], {}, [[1]], {"8": {}}, float("nan"), 0.5))
            break
        where = where[name]
    return json.dumps(body)


WAYS: tuple[Callable[[random.Random, Messages, list[Messages]], None], ...] = (
    drop, repeat, swap, shuffle, cut, splice, insert, flip, flip, flip, shorten, lengthen, swell, scramble, field,
    field, field, field, options, part, part, part,
)  # fmt: skip
