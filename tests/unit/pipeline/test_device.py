"""Devices: results that come back, and clocks that wait."""

from __future__ import annotations

import time

import torch

from fluxshard.pipeline.device import RunDevice, cpu_name, full_float32


def test_outputs_come_back_as_float32():
    outputs = {"a": (torch.ones(2, dtype=torch.float16), "text"), "b": [torch.ones(3, dtype=torch.bfloat16), None]}
    found = RunDevice.fetch(outputs)
    assert found["a"][0].dtype == found["b"][0].dtype == torch.float32 and found["a"][1] == "text"
    counted = torch.arange(3)
    assert RunDevice.fetch(counted) is counted and RunDevice.fetch(None) is None


def test_clocks_wait_for_the_device(monkeypatch):
    """On a GPU a call returns before it is done: what follows waits, and counts."""
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: (time.sleep(0.02), waited.append(device)))
    device = RunDevice(torch.device("cuda", 1))
    outputs, took_ms = device.timed(lambda a, b: a + b, 1, 2)
    assert outputs == 3 and took_ms >= 20 and waited == [torch.device("cuda", 1)]
    outputs, took_ms = RunDevice().timed(lambda: 5)
    assert outputs == 5 and took_ms < 20 and len(waited) == 1
    image = torch.zeros(1, 3, 8, 8)
    assert RunDevice().place(image) is image and RunDevice().describe() is None


def test_float32_is_float32():
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for device, allowed in (("cpu", True), ("cuda", False)):
            for backend in backends:
                backend.allow_tf32 = True
            full_float32(torch.device(device, 0))
            assert all(backend.allow_tf32 == allowed for backend in backends)
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def test_processors_and_gpus_are_named(monkeypatch):
    class Properties:
        uuid = "1234-ab"

    assert cpu_name() and RunDevice().uuid() is None
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties())
    assert RunDevice(torch.device("cuda", 0)).uuid() == "1234-ab"
