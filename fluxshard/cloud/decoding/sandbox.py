"""Gives up what a process that decodes untrusted video does not need, on Linux.

Source: prctl(2), seccomp(2), unshare(2), getrlimit(2); Linux's include/uapi/linux/{prctl,seccomp,filter,audit}.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from contextlib import suppress
from pathlib import Path

from fluxshard.cloud.decoding.protocol import Protection

_NOBODY = 65_534
_CLONE_NEWNET = 0x4000_0000
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_ALLOW, _REFUSE = 0x7FFF_0000, 0x0005_0001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET
_NUMBER_OFFSET, _MACHINE_OFFSET = 0, 4  # in struct seccomp_data

_MACHINES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}  # AUDIT_ARCH_*
# what reads packets, writes answers, gets memory and ends: numbers on the machines above
_CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "brk": (12, 214),
    "madvise": (28, 233),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "sched_yield": (24, 124),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "setitimer": (38, 103),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "gettimeofday": (96, 169),
    "clock_gettime": (228, 113),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}


class _Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def enter(memory_bytes: int) -> Protection:
    """Gives up all that can be given up; whatever the process needs must be loaded, open and allocated before.

    Args:
      memory_bytes: of address space that it may take beyond what it has.

    Returns:
      what was given up: a machine may refuse some of it.
    """
    found = Protection(0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:  # for root only; without it, no calls are left for sockets
        found |= Protection.NETWORK
    _limit(memory_bytes)
    found |= Protection.LIMITS
    if _leave_root():
        found |= Protection.USER
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no core, and no debugger of the same user
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        found |= Protection.NO_NEW_PRIVILEGES
        if _filter_system_calls(libc):
            found |= Protection.SYSTEM_CALLS
    return found


def _limit(memory_bytes: int) -> None:
    """Limits memory, files, processes and core dumps. Files that are open stay open."""
    taken = 0
    with suppress(OSError):
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    limits = {"AS": taken + memory_bytes, "NOFILE": 0, "NPROC": 0, "FSIZE": 0, "CORE": 0}
    for name, most in limits.items():
        with suppress(OSError, ValueError, AttributeError):  # one that is lower already, or that this system has not
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


def _leave_root() -> bool:
    """Whether the process is not root's, which it may have been."""
    if os.geteuid() == 0:
        with suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    return os.geteuid() != 0


def _filter_system_calls(libc: ctypes.CDLL) -> bool:
    """Makes all system calls but a few fail with EPERM; False where the kernel or the machine has no such filter."""
    machine = platform.machine()
    if machine not in _MACHINES:
        return False
    calls = [numbers[list(_MACHINES).index(machine)] for numbers in _CALLS.values()]
    n = len(calls)
    steps = [
        (_LOAD_WORD, 0, 0, _MACHINE_OFFSET),
        (_JUMP_IF_EQUAL, 0, n + 1, _MACHINES[machine]),  # another one would have other numbers
        (_LOAD_WORD, 0, 0, _NUMBER_OFFSET),
        *((_JUMP_IF_EQUAL, n - index, 0, call) for index, call in enumerate(calls)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    instructions = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    program = _Program(len(steps), instructions)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)
