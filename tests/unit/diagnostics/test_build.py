"""The compiler, NVRTC and the kernel cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxshard.codegen.cuda.device.driver import DeviceInfo
from fluxshard.diagnostics import build
from fluxshard.errors import ToolchainError


@pytest.mark.requires_compiler
def test_a_compiler_that_works() -> None:
    found = build.check_compiler()
    assert found.status in ("ok", "warn") and not found.fatal
    assert any(isa in found.seen for isa in ("avx512", "avx2", "portable"))


def test_no_compiler_is_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = build.check_compiler()
    assert (found.status, found.fatal) == ("missing", False)
    assert "no-such-compiler cannot be run" in found.seen


def test_a_compiler_that_fails_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "broken 1.0" && exit 0\necho "no thread" >&2\nexit 1\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    found = build.check_compiler()
    assert found.fatal and found.seen.startswith("broken 1.0") and "no thread" in found.seen
    assert "headers and threads" in found.advice


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", str(cache))
    assert build.check_cache().seen == f"{cache}, 0 entries, 0.0 MB"
    assert not cache.exists()
    for name in ("net-1", "net-2", ".net-3-unfinished"):
        (cache / name).mkdir(parents=True)
        (cache / name / "kernel.so").write_bytes(bytes(500_000))
    found = build.check_cache()
    assert (found.status, found.seen) == ("ok", f"{cache}, 2 entries, 1.5 MB")
    assert len(list(cache.iterdir())) == 3


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "cache", Path("/proc/fluxshard")):
        found = build.check_cache(place)
        assert found.status == "warn" and "FLUXSHARD_CACHE_DIR" in found.advice and str(place) in found.seen


class FakeNvrtc:
    identity, version, arches = "NVRTC 13.0", (13, 0), (75, 90)

    def check_arch(self, arch: str) -> None:
        if arch == "sm_70":
            raise ToolchainError("NVRTC 13.0 does not compile for sm_70: install another")


def gpu(capability: tuple[int, int] = (9, 0), driver: tuple[int, int] = (13, 0)) -> DeviceInfo:
    return DeviceInfo(name="GPU", capability=capability, multiprocessors=1, memory_bytes=8 << 30, driver_version=driver)


@pytest.mark.parametrize(
    ("device", "status", "word"),
    [
        (gpu(), "ok", "sm_75 to sm_90"),
        (gpu((7, 0)), "warn", "does not compile for sm_70"),
        (gpu(driver=(12, 4)), "warn", "the driver is for CUDA 12.4"),
        (None, "ok", "NVRTC 13.0"),
    ],
)
def test_nvrtc(device: DeviceInfo | None, status: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def device_of(_: int) -> DeviceInfo:
        if device is None:
            raise ToolchainError("no driver")
        return device

    monkeypatch.setattr(build, "Nvrtc", FakeNvrtc)
    monkeypatch.setattr(build, "device_of", device_of)
    found = build.check_nvrtc()
    assert found.status == status and word in found.seen


def test_no_nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ToolchainError("libnvrtc cannot be loaded")

    monkeypatch.setattr(build, "Nvrtc", missing)
    assert build.check_nvrtc().line() == "missing  nvrtc                 libnvrtc cannot be loaded"
