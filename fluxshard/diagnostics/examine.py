"""Runs all checks, one after another. A check that fails is a finding, never an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from fluxshard.cloud.tcp_settings import tcp_settings
from fluxshard.diagnostics import build, devices, media, software
from fluxshard.diagnostics.check import Check
from fluxshard.diagnostics.network import check_tcp

Examination = Callable[[], Iterable[Check]]


def examine(root: Path = Path("/")) -> Iterator[Check]:
    """What this machine has, in the order of what needs what; every finding as soon as it is made.

    Args:
      root: where dev/, proc/ and sys/ are; another for tests.
    """
    yield from run_checks(
        (
            ("python", lambda: [software.check_python()]),
            ("torch", lambda: [software.check_torch()]),
            ("c++ compiler", lambda: [build.check_compiler()]),
            ("instruction sets", lambda: [build.check_instructions()]),
            ("kernel cache", lambda: [build.check_cache()]),
            ("threads", lambda: devices.check_threads(root)),
            ("generated code", lambda: [devices.check_generated_code(root)]),
            ("ffmpeg", software.check_ffmpeg),
            ("other decoders", lambda: [media.check_codecs()]),
            ("network streams", lambda: [media.check_streams()]),
            ("cameras", lambda: media.check_cameras(root)),
            ("extras", software.check_extras),
            ("cuda device", lambda: [devices.check_gpu(root)]),
            ("nvrtc", lambda: [build.check_nvrtc()]),
            ("energy meter", lambda: [devices.check_energy(root)]),
            ("tcp", lambda: check_tcp(tcp_settings(root))),
        )
    )


def run_checks(examinations: Sequence[tuple[str, Examination]]) -> Iterator[Check]:
    """What named examinations find; one that fails with any exception is a finding itself."""
    for name, examination in examinations:
        try:
            yield from examination()
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            yield Check(name=name, status="warn", seen=f"cannot be told ({type(error).__name__}: {first[:200]})")
