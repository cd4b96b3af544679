"""The server's end of one child process: how it is started, asked and ended."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fluxshard
from fluxshard.cloud.decoding.protocol import REPLY, REQUEST, Protection, Reply, Request, picture_bytes
from fluxshard.cloud.decoding.shared_vectors import PacketVectors, read_vectors, shared_bytes
from fluxshard.errors import DecoderError

_CHILD = "fluxshard.cloud.decoding.child"
_START_TIMEOUT_S = 60.0  # imports, on a machine that is busy
_ROOT = str(Path(fluxshard.__file__).resolve().parent.parent)
_INHERITED = ("LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")  # nothing that may hold a secret


class ChildProcess:
    """A running child, with memory of a fixed size in which it writes pictures. Whatever it answers is checked.

    Args:
      picture_size: (h, w) of the pictures.
      timeout_s: for one packet.
      memory_bytes: of address space for decoding.
      vectors: whether it writes motion vectors as well.

    Raises:
      DecoderError: it cannot be started, or does not answer.
    """

    def __init__(
        self, picture_size: tuple[int, int], *, timeout_s: float, memory_bytes: int, vectors: bool = False
    ) -> None:
        self._size, self._timeout_s = picture_size, timeout_s
        self.n_bytes = shared_bytes(picture_size, vectors=vectors)
        with ExitStack() as undo:
            try:
                self._open(undo, memory_bytes, vectors)
            except OSError as error:
                raise DecoderError(
                    f"the decoder's process cannot be started ({error.strerror or error}); are there too many "
                    "processes or files, or too little memory?"
                ) from error
            undo.callback(self._kill)
            reply, word = self._answer(time.monotonic() + _START_TIMEOUT_S)
            if reply is not Reply.READY:
                raise DecoderError("the decoder's process gave an answer that nothing asked for")
            self.protection = Protection(word & int(~Protection(0)))
            undo.pop_all()

    def _open(self, undo: ExitStack, memory_bytes: int, vectors: bool) -> None:
        """Makes the memory and the channel, and starts the process with them."""
        memory_file = os.memfd_create("fluxshard-picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(memory_file, "r+b", buffering=0):
            os.ftruncate(memory_file, self.n_bytes)
            # a child that shrinks it would make the server's reads fail with SIGBUS
            fcntl.fcntl(memory_file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._memory = undo.enter_context(mmap.mmap(memory_file, self.n_bytes, prot=mmap.PROT_READ))
            ours, theirs = socket.socketpair()
            self._channel = undo.enter_context(ours)
            with theirs:
                numbers = (theirs.fileno(), memory_file, *self._size, memory_bytes, int(vectors), self._timeout_s)
                self._process = _start([str(number) for number in numbers], (theirs.fileno(), memory_file))

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def decode(self, number: int, data: bytes, request: Request) -> Reply:
        """Hands over a packet and waits for what becomes of it.

        Args:
          number: of the packet.
          data: the packet.
          request: what it is asked for.

        Raises:
          DecoderError: the process died, does not answer in time, or answers something else.
        """
        deadline = time.monotonic() + self._timeout_s
        try:
            self._channel.settimeout(self._timeout_s)
            self._channel.sendall(REQUEST.pack(request, len(data), number) + data)
        except OSError as error:  # a timeout is one
            raise DecoderError(
                "the decoder's process does not take packets; the next keyframe starts another"
            ) from error
        reply, answered = self._answer(deadline)
        if reply is Reply.READY or answered != number:
            raise DecoderError("the decoder's process answered another packet; the next keyframe starts another")
        return reply

    def picture(self) -> NDArray[np.uint8]:
        """A copy of the picture that was written last: `(h, w, 3)` uint8, RGB."""
        found = np.frombuffer(self._memory, np.uint8, picture_bytes(self._size))
        return found.reshape(*self._size, 3).copy()

    def vectors(self) -> PacketVectors:
        """A copy of the motion vectors of the last packet; where the process writes them.

        Raises:
          DecoderError: they are nothing that a decoder writes.
        """
        return read_vectors(self._memory, picture_bytes(self._size), self._size)

    def close(self) -> None:
        """Ends the process and releases its memory."""
        self._kill()
        self._channel.close()
        self._memory.close()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self, deadline: float) -> tuple[Reply, int]:
        """Waits for one answer.

        Raises:
          DecoderError: there is none until the deadline, or none that exists.
        """
        found = b""
        while len(found) < REPLY.size:
            left = deadline - time.monotonic()
            try:
                self._channel.settimeout(max(left, 1e-3))
                part = self._channel.recv(REPLY.size - len(found)) if left > 0 else None
            except TimeoutError:
                part = None
            except OSError:
                part = b""
            if part is None:
                raise DecoderError("the decoder's process did not answer in time; the next keyframe starts another")
            if not part:
                raise DecoderError("the decoder's process died; the next keyframe starts another")
            found += part
        kind, word = REPLY.unpack(found)
        try:
            return Reply(kind), word
        except ValueError:
            raise DecoderError("the decoder's process gave an answer that does not exist") from None


def _start(arguments: list[str], files: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Starts the child with nothing of the server but two files and the place of this package."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment["OPENBLAS_NUM_THREADS"] = "1"  # the child has one thread, and may not start others
    return subprocess.Popen(
        # -P: the working directory is no place for modules
        [sys.executable, "-P", "-m", _CHILD, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=True,
        pass_fds=files,
        cwd="/",
        env=environment,
        start_new_session=True,  # an interrupt at the server's terminal is the server's to handle
    )
