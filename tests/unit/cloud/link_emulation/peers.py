"""Programs at the ends of a link: a server that answers each message with 64 bytes, and an edge that takes the time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fluxshard.cloud.link_emulation.emulated_link import EmulatedLink

_SERVER = """
import socket, struct, sys, threading
listening = socket.create_server((sys.argv[1], 0))
print(listening.getsockname()[1], flush=True)
def serve(end):
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while len(size := end.recv(4, socket.MSG_WAITALL)) == 4:
        left = struct.unpack("!I", size)[0]
        while left:
            left -= len(end.recv(min(left, 1 << 20)))
        end.sendall(bytes(64))
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""
_EDGE = """
import json, socket, struct, sys, time
begun = time.perf_counter()
end = socket.create_connection((sys.argv[1], int(sys.argv[2])))
end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
took = [time.perf_counter() - begun]
for size in map(int, sys.argv[4:]):
    begun = time.perf_counter()
    end.sendall(struct.pack("!I", size) + bytes(size))
    assert len(end.recv(64, socket.MSG_WAITALL)) == 64
    took.append(time.perf_counter() - begun)
    time.sleep(float(sys.argv[3]))
print(json.dumps(took))
"""


@contextmanager
def answering(link: EmulatedLink) -> Iterator[int]:
    """A server at the far end; yields its port."""
    command = link.server_command([sys.executable, "-c", _SERVER, link.listen_host])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def start_edge(
    link: EmulatedLink, port: int, sizes: Sequence[int], edge: int = 0, *, gap_s: float = 0.0
) -> subprocess.Popen[str]:
    """Starts an edge that sends messages, one after the other, and waits for so long behind each answer."""
    host, number = link.address(port, edge)
    words = [sys.executable, "-c", _EDGE, host, str(number), str(gap_s), *map(str, sizes)]
    return subprocess.Popen(link.edge_command(words, edge), stdout=subprocess.PIPE, text=True)


def seconds(edge: subprocess.Popen[str]) -> list[float]:
    """What connecting took, and then each message until its answer."""
    out, _ = edge.communicate(timeout=60)
    assert edge.returncode == 0
    took: list[float] = json.loads(out)
    return took
