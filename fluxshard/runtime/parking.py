"""Packs the memory of an idle stream away, and brings it back in the same place, bit for bit.

Blocks keep their addresses, so whoever points into one need not know: what a block held is packed, and its pages go
back to the operating system until it is restored. Nobody may read or write it meanwhile.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
A = TypeVar("A")
B = TypeVar("B")
PART = 1 << 20  # bytes of a block that are packed at once, where it is taken apart
_LONG = 24  # log2 of how far back repetitions are looked for: images of several levels repeat each other
_SPARE = 8192  # bytes that packing may add to a part
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
_PAYS = 0.9  # share of its size below which zlib, slow as it is, is worth its time


@runtime_checkable
class HoldsMemory(Protocol):
    """Whoever keeps blocks of memory between the frames of a stream."""

    def memory(self) -> tuple[Bytes, ...]:
        """The blocks, as bytes."""
        ...


def memory_of(holder: object) -> tuple[Bytes, ...]:
    """The blocks that an object holds; none where it does not say."""
    return holder.memory() if isinstance(holder, HoldsMemory) else ()


@dataclass(frozen=True, slots=True)
class Planes:
    """How numbers are taken apart into planes of bytes.

    Attributes:
      count: bytes of a number.
      split: fills the second block, plane by plane, from the numbers of the first.
      join: the way back: planes, then numbers.
    """

    count: int
    split: Callable[[Bytes, Bytes], None]
    join: Callable[[Bytes, Bytes], None]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of memory; `planes` where it mostly holds numbers, None where it holds bytes."""

    memory: Bytes
    planes: Planes | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a block, and where in the packed memory each of its planes lies: `(start, end)`."""

    memory: Bytes
    planes: Planes | None
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Parked:
    """Blocks that are packed.

    Attributes:
      n_bytes: what they take now.
    """

    n_bytes: int
    _packed: _Packed
    _parts: tuple[_Part, ...]

    def restore(self, threads: int) -> None:
        """Brings all blocks back, once.

        Args:
          threads: that work at it.
        """
        _each(threads, self._restore, self._parts)
        self._packed.memory.close()

    def _restore(self, part: _Part) -> None:
        with memoryview(self._packed.memory) as packed:
            if part.planes is None:
                _expand(packed, part.places[0], part.memory)
                return
            apart = np.empty_like(part.memory)
            for place, plane in zip(part.places, apart.reshape(part.planes.count, -1), strict=True):
                _expand(packed, place, plane)
            part.planes.join(apart, part.memory)


def park(blocks: Sequence[Block], threads: int) -> Parked:
    """Packs blocks, and gives their pages back where the system can.

    Args:
      blocks: which nobody uses until they are restored.
      threads: that work at it.
    """
    cut = [(part, block.planes) for block in blocks for part in _parts_of(block)]
    cut.sort(key=lambda one: -one[0].nbytes)  # the largest first: nobody waits for one that was begun last
    packed = _Packed(mmap.mmap(-1, sum(block.memory.nbytes for block in blocks) + _SPARE * len(cut), **_PRIVATE))
    parts = _each(threads, lambda given: _pack(packed, *given), cut)
    kept = sum(block.memory.nbytes - _release(block.memory) for block in blocks)
    return Parked(kept + packed.size, packed, tuple(parts))


@dataclass(slots=True)
class _Packed:
    """What is packed, part after part, in pages of its own: once filled, they take memory until all is back."""

    memory: mmap.mmap
    size: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, content: bytes) -> tuple[int, int]:
        """Puts something behind what is there; returns where it lies."""
        with self.lock:
            start, self.size = self.size, self.size + len(content)
            self.memory[start : self.size] = content
            return start, self.size


def _parts_of(block: Block) -> list[Bytes]:
    step = PART if block.planes else max(block.memory.nbytes, 1)
    return [block.memory[at : at + step] for at in range(0, block.memory.nbytes, step)]


def _pack(packed: _Packed, memory: Bytes, planes: Planes | None) -> _Part:
    if planes is None or memory.nbytes % planes.count:
        return _Part(memory, None, (packed.add(_compressed(memory)),))
    apart = np.empty_like(memory)
    planes.split(memory, apart)
    places = tuple(packed.add(_compressed(plane)) for plane in apart.reshape(planes.count, -1))
    return _Part(memory, planes, places)


def _each(threads: int, function: Callable[[A], B], given: Sequence[A]) -> list[B]:
    """The function of everything, on several threads: those who pack and copy do not hold the interpreter's lock."""
    if threads <= 1 or len(given) <= 1:
        return list(map(function, given))
    with ThreadPoolExecutor(threads, "fluxshard-parking") as pool:
        return list(pool.map(function, given))


# ---- packed bytes begin with how they are packed


def _compressed(content: Bytes) -> bytes:
    """Packed with zstandard where it is installed; otherwise with zlib if that pays, or as they are."""
    try:
        import zstandard
    except ImportError:
        packed = zlib.compress(content.data, 1)
        return b"z" + packed if len(packed) < _PAYS * content.nbytes else b"r" + content.tobytes()
    log = min(_LONG, max(10, int(content.nbytes).bit_length()))
    how = zstandard.ZstdCompressionParameters.from_level(1, window_log=log, enable_ldm=content.nbytes > PART)
    return b"s" + zstandard.ZstdCompressor(compression_params=how).compress(content.data)


def _expand(packed: memoryview, place: tuple[int, int], to: Bytes) -> None:
    kind = bytes(packed[place[0] : place[0] + 1])
    with packed[place[0] + 1 : place[1]] as rest:
        if kind == b"s":
            import zstandard

            decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _LONG)
            with decompressor.stream_reader(rest) as reader, memoryview(to) as view:  # type: ignore[arg-type]
                at = 0
                while at < to.nbytes:
                    at += reader.readinto(view[at:])
            return
        to[:] = np.frombuffer(zlib.decompress(rest) if kind == b"z" else bytes(rest), np.uint8)


def _release(memory: Bytes) -> int:
    """Gives whole pages of a block back to the operating system, where that is possible; returns how many bytes."""
    advice = getattr(mmap, "MADV_DONTNEED", None) if sys.platform == "linux" else None
    start = -(-memory.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (memory.ctypes.data + memory.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - start
    if advice is None or length <= 0 or not memory.flags.writeable:
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return length if libc.madvise(start, length, advice) == 0 else 0
