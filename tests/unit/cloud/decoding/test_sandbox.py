from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fluxshard.cloud.decoding.protocol import Protection

ROOT = Path(__file__).resolve().parents[4]
ENTER = """
import os, signal, socket, sys, threading
from fluxshard.cloud.decoding.sandbox import enter
listener, fifo = socket.socket(), os.pipe()
found = enter(64 << 20)
os.write(1, b"%d " % found)
"""


def inside(code: str) -> tuple[Protection, str]:
    """What code writes in a process that has given up its rights, or the error that it meets."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    program = (
        f"{ENTER}\ntry:\n{body}\nexcept BaseException as error:\n    os.write(1, type(error).__name__.encode())\n"
        "os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    protection, _, output = done.stdout.partition(" ")
    return Protection(int(protection)), output


def test_what_decoding_needs_still_works() -> None:
    protection, output = inside("bytearray(1 << 20); os.write(fifo[1], b'x'); os.write(1, os.read(fifo[0], 1))")
    assert output == "x"
    assert Protection.LIMITS | Protection.NO_NEW_PRIVILEGES | Protection.USER in protection


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd')",
        "os.open('/proc/self/mem', os.O_RDWR)",
        "socket.socket()",
        "listener.accept()",
        "os.dup(1)",
        "os.pipe()",
        "os.memfd_create('x')",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "threading.Thread(target=print).start()",
    ],
)
def test_nothing_can_be_opened_or_started(code: str) -> None:
    _, output = inside(code)
    assert output in ("OSError", "PermissionError", "BlockingIOError", "RuntimeError")


@pytest.mark.parametrize(
    "code",
    [
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.fork()",
        "os.unlink('/tmp/x')",
        "os.chmod('/tmp', 0)",
        "listener.listen()",
    ],
)
def test_system_calls_that_decoding_does_not_need_are_refused(code: str) -> None:
    protection, output = inside(code)
    if Protection.SYSTEM_CALLS not in protection:
        pytest.skip("this kernel or machine has no filter of system calls")
    assert output == "PermissionError"


def test_memory_is_limited() -> None:
    assert inside("bytearray(1 << 30)")[1] == "MemoryError"


def test_the_process_is_not_roots() -> None:
    assert inside("os.write(1, b'root' if os.geteuid() == 0 else b'user')")[1] in ("user", "PermissionError")
