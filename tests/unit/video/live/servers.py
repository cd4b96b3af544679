"""Small servers on loopback that do to a reader what cameras and networks do."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning

Serve = Callable[[socket.socket, int], None]
FRAMES = 12


def transport_stream(place: Path, size: tuple[int, int] = (64, 96), count: int = FRAMES) -> bytes:
    """A clip of MPEG-TS."""
    path = place / f"{size[0]}x{size[1]}x{count}.ts"
    return (path if path.exists() else write_clip(path, panning(size, (0, 4), count))).read_bytes()


def with_sound(place: Path, size: tuple[int, int], count: int) -> tuple[bytes, bytes]:
    """A stream of MPEG-TS up to its last picture, and the sound that goes on after it."""
    path = place / "sound.ts"
    with av.open(str(path), "w") as container:
        film = container.add_stream("libx264", rate=25)
        film.height, film.width, film.pix_fmt = *size, "yuv420p"
        film.options = {"preset": "ultrafast", "x264-params": "bframes=0:keyint=25"}
        sound = container.add_stream("mp2", rate=48000, layout="mono")
        for index, picture in enumerate(panning(size, (0, 4), count)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(film.encode(frame))
        container.mux(film.encode(None))
        for start in range(0, (count + 25) * 48000 // 25, 1152):
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            tone.rate, tone.pts, tone.time_base = 48000, start, Fraction(1, 48000)
            container.mux(sound.encode(tone))
        container.mux(sound.encode(None))
        number = film.id
    data = path.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    last = max(i for i, packet in enumerate(packets) if int.from_bytes(packet[1:3], "big") & 0x1FFF == number)
    return b"".join(packets[: last + 1]), b"".join(packets[last + 1 :])


def send_on(client: socket.socket, tail: bytes, stop: threading.Event) -> None:
    """Sends packets of MPEG-TS bit by bit, again and again, for 20 s at most."""
    at = 0
    for _ in range(1000):
        if stop.wait(0.02):
            return
        client.sendall(tail[at : at + 4 * 188])
        at = (at + 4 * 188) % len(tail)


def reset(client: socket.socket) -> None:
    """Breaks the connection off, as where a machine is switched off and on."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def wait_read(client: socket.socket) -> None:
    """Waits until the other side's machine has all that was sent, for a second at most."""
    left, deadline = 1, time.monotonic() + 1
    while left and time.monotonic() < deadline:
        left = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, b"\0" * 4))[0]
        time.sleep(0.002)


class Server:
    """Accepts one connection after the other, each in a thread of its own.

    Args:
      serve: is given a connection and its number; the connection is closed when it returns.
      port: to listen at; 0 takes any.
    """

    def __init__(self, serve: Serve, port: int = 0) -> None:
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self.connections = 0
        self._clients: list[socket.socket] = []
        self._closing = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            self._clients = [one for one in self._clients if one.fileno() >= 0] + [client]
            thread = threading.Thread(target=self._run, args=(client, number), daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def _run(self, client: socket.socket, number: int) -> None:
        with suppress(OSError), client:
            self._serve(client, number)


def http_headers(client: socket.socket, kind: str = "video/mp2t") -> str:
    """Reads a request and answers that a body without a length follows; returns the path that was asked for."""
    request = b""
    while b"\r\n\r\n" not in request:
        got = client.recv(4096)
        if not got:
            raise OSError
        request += got
    client.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode())
    return request.split()[1].decode()


def open_files() -> int:
    """File descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    """Memory that this process has in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def nothing_left(memory_bytes: int | None = None) -> Iterator[None]:
    """Checks that threads and files are as many afterwards as before, and that memory has not grown by more."""
    threads, files, memory = threading.active_count(), open_files(), resident_bytes()
    yield
    deadline = time.monotonic() + 5
    while (threading.active_count(), open_files()) != (threads, files) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = f"{threading.enumerate()}, files: {open_files()}"
    assert (threading.active_count(), open_files()) == (threads, files), left
    if memory_bytes is not None:
        assert resident_bytes() - memory <= memory_bytes
