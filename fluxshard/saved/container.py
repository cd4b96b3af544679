"""A file of one JSON header and raw parts, with its length and a hash over everything.

```
 0   8  magic            32  32  SHA-256 of bytes 0 to 31 and of all bytes from 64 on
 8   4  version          64      header, then parts, each at a multiple of 64
12   4  zero
16   8  length of the file
24   8  length of the header                         numbers are little-endian
```
Parts are neither compressed nor named: reading takes no more memory than the file has bytes, and writes no file.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import ModelError

MAGIC = b"\x8bFLUXSH\n"
VERSION = 1
SUFFIX = ".fluxshard"
MOST_BYTES = 16 << 30
_HEAD = struct.Struct("<8sIIQQ")
_START = 64  # of the header; parts are aligned to it, too: vectors are loaded from them
_PARTS = "parts"

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """What a file holds.

    Attributes:
      header: the JSON object.
      parts: views of one block of memory, each 64-byte aligned.
    """

    header: Mapping[str, Any]
    parts: Sequence[Bytes]


def is_container(path: Path) -> bool:
    """Whether a file begins as such a file does; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def container_bytes(container: Container) -> bytes:
    """The file's content."""
    table: list[tuple[int, int]] = []

    def header_of() -> bytes:
        return json.dumps({**container.header, _PARTS: table}, sort_keys=True, separators=(",", ":")).encode()

    # offsets are numbers in the header: it is given the room that it can need at most, and filled with spaces
    table = [(MOST_BYTES, part.nbytes) for part in container.parts]
    room, table = len(header_of()), []
    at = _aligned(_START + room)
    for part in container.parts:
        table.append((at, part.nbytes))
        at = _aligned(at + part.nbytes)
    header = header_of().ljust(room)
    body = bytearray(at)
    body[_START : _START + room] = header
    for (offset, size), part in zip(table, container.parts, strict=True):
        body[offset : offset + size] = part.tobytes()
    body[: _HEAD.size] = _HEAD.pack(MAGIC, VERSION, 0, at, room)
    body[_HEAD.size : _START] = _digest(memoryview(body))
    return bytes(body)


def read_container(path: Path) -> Container:
    """Reads and checks a file.

    Raises:
      ModelError: it is missing, unreadable, of another kind, of a newer version, truncated or altered.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _error(path, "is not a regular file: give a file that model.save or fluxshard export wrote")
            start = file.read(_START)
            total, room = _checked_start(path, start, status.st_size)
            memory = np.empty(total + _START, np.uint8)
            shift = -memory.ctypes.data % _START
            body = memory[shift : shift + total]
            body[:_START] = np.frombuffer(start, np.uint8)
            if file.readinto(body[_START:].data) != total - _START:
                raise _error(path, "was cut short while it was read: try again")
    except FileNotFoundError:
        raise _error(path, "does not exist") from None
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror or error}") from error
    if _digest(body.data) != bytes(start[_HEAD.size :]):
        raise _error(path, "is damaged: its bytes are not those that were written; copy or export it again")
    try:
        header = json.loads(body[_START : _START + room].tobytes())
        return Container(header=header, parts=[_part(body, *entry) for entry in header[_PARTS]])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _error(path, f"is no saved model ({type(error).__name__}: {error}); export it again") from error


def _checked_start(path: Path, start: bytes, size: int) -> tuple[int, int]:
    """Lengths of the file and of its header, where the first bytes and the file's size allow them."""
    if start[: len(MAGIC)] != MAGIC:
        raise _error(path, "is not a saved model: give a file that model.save or fluxshard export wrote")
    if len(start) < _START:
        raise _error(path, f"is truncated: it has {len(start)} bytes; copy or export it again")
    _, version, zero, total, room = _HEAD.unpack(start[: _HEAD.size])
    if version != VERSION:
        seen = "newer than" if version > VERSION else "older than"
        raise _error(
            path, f"has format {version}, {seen} what this version reads, {VERSION}: export the model again, or update"
        )
    if total != size:
        what = "is truncated" if size < total else "has bytes behind its end"
        raise _error(path, f"{what}: it has {size} bytes and was written with {total}; copy or export it again")
    if zero or total > MOST_BYTES or room > total - _START:
        raise _error(path, "is damaged: its first bytes are not those that were written; copy or export it again")
    return total, room


def _part(body: Bytes, offset: int, size: int) -> Bytes:
    if not (isinstance(offset, int) and isinstance(size, int) and size >= 0 and _START <= offset <= len(body) - size):
        raise ValueError(f"a part of {size} bytes at {offset} of {len(body)}")
    return body[offset : offset + size]


def _digest(body: memoryview) -> bytes:
    total = hashlib.sha256(body[: _HEAD.size])
    total.update(body[_START:])
    return total.digest()


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // _START) * _START


def _error(path: Path, what: str) -> ModelError:
    return ModelError(f"saved model {str(path)!r} {what}")
