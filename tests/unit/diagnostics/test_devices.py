"""Processors, GPU and energy meters."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from fluxshard.codegen.cuda.device.driver import DeviceInfo
from fluxshard.diagnostics import devices
from fluxshard.errors import ToolchainError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("quota", "threads", "status"),
    [(None, 4, "ok"), (None, 5, "warn"), ("max 100000", 4, "ok"), ("200000 100000", 4, "warn"), ("noise", 4, "ok")],
)
def test_threads(quota, threads, status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    if quota is not None:
        write(tmp_path / "sys/fs/cgroup/cpu.max", quota)
    found, _ = devices.check_threads(tmp_path)
    assert found.status == status
    if status == "warn":
        assert f"OMP_NUM_THREADS={4 if quota is None else 2}" in found.advice


@pytest.mark.parametrize(
    ("policy", "status"), [("passive", "ok"), ("PASSIVE", "ok"), ("active", "warn"), (None, "warn")]
)
def test_how_threads_wait(policy, status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    _, found = devices.check_threads(tmp_path)
    assert found.status == status


def test_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = DeviceInfo(name="H100", capability=(9, 0), multiprocessors=132, memory_bytes=80 << 30, driver_version=(12, 8))
    monkeypatch.setattr(devices, "device_of", lambda _: gpu)
    write(tmp_path / "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Fri\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = devices.check_gpu(tmp_path)
    assert (found.status, found.seen) == ("ok", "H100, sm_90, 80 GiB, driver 570.86.15 for CUDA 12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = devices.check_gpu(tmp_path / "elsewhere")
    assert found.status == "warn"
    assert found.seen == "H100, sm_90, 80 GiB, driver for CUDA 12.8; torch does not see it"


def test_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def device_of(_: int) -> DeviceInfo:
        raise ToolchainError("no NVIDIA driver found")

    monkeypatch.setattr(devices, "device_of", device_of)
    found = devices.check_gpu(tmp_path)
    assert (found.status, found.fatal, found.seen) == ("missing", False, "no NVIDIA driver found")


def test_energy(tmp_path: Path) -> None:
    assert devices.check_energy(tmp_path).status == "missing"
    zones = tmp_path / "sys/class/powercap"
    write(zones / "intel-rapl:0/energy_uj", "123456\n")
    write(zones / "intel-rapl:0:0/energy_uj", "1\n")
    write(zones / "intel-rapl-mmio:0/energy_uj", "1\n")  # a duplicate of the package
    found = devices.check_energy(tmp_path)
    assert (found.status, found.seen) == ("ok", "intel-rapl:0, intel-rapl:0:0")
    (zones / "intel-rapl:0/energy_uj").unlink()
    (zones / "intel-rapl:0/energy_uj").mkdir()  # root reads any file, but no directory
    found = devices.check_energy(tmp_path)
    assert found.status == "warn" and found.seen.startswith("1 of 2") and "chmod" in found.advice


@pytest.mark.parametrize(("threads", "status"), [(4, "ok"), (5, "warn")])
def test_how_generated_code_waits(threads, status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = devices.check_generated_code(tmp_path)
    assert found.status == status
    assert f"{threads} threads" in found.seen and "torch.set_num_threads" in found.advice
    pool = files("fluxshard.codegen").joinpath("templates/cpp/pool.h").read_text()
    assert f"LOOKS_NS = {devices.LOOKS_US}000;" in pool and f"{devices.LOOKS_US} us" in found.seen
