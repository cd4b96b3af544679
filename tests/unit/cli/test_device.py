"""Devices of the command line: what goes together, clocks that wait, and the dense network in any dtype."""

from __future__ import annotations

import re
import time

import pytest
import torch

from fluxshard.cli.dense import dense_runner
from fluxshard.cli.device import RunDevice, device_errors, full_float32
from fluxshard.cli.settings import check_device
from fluxshard.errors import DeviceError, DeviceMemoryError, OptionError


@pytest.mark.parametrize(
    ("device", "dtype", "backend", "message"),
    [
        ("tpu", "float32", "auto", "--device (='tpu') must be cpu, cuda or cuda:N"),
        ("cuda:x", "float32", "auto", "--device (='cuda:x') must be"),
        ("cpu", "float16", "auto", "--dtype float16 is for --device cuda; --device cpu computes in float32"),
        ("cpu", "float32", "cuda", "--backend cuda is for --device cuda; with --device cpu use one of auto, cpp"),
        ("cpu", "float32", "emulated", "--backend emulated is for --device cuda"),
        ("cuda:1", "float32", "cpp", "--backend cpp is for --device cpu; with --device cuda:1 use one of auto, cuda"),
        ("cuda", "bfloat16", "reference", "--backend reference is for --device cpu"),
    ],
)
def test_devices_that_do_not_go_together(device, dtype, backend, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        check_device(device, dtype, backend)


@pytest.mark.parametrize(
    ("device", "dtype", "backend"),
    [("cpu", "float32", "cpp"), ("cuda", "float16", "auto"), ("cuda:3", "bfloat16", "emulated")],
)
def test_devices_that_go_together(device, dtype, backend):
    check_device(device, dtype, backend)


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


def test_what_torch_says_of_a_gpu_becomes_an_error_of_ours():
    with pytest.raises(DeviceMemoryError, match="Tried to allocate 2 GiB: use a smaller --size"), device_errors():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
    with (
        pytest.raises(DeviceError, match=r"the GPU stopped working .*illegal memory access.*: start again"),
        device_errors(),
    ):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore")
    with pytest.raises(KeyError), device_errors():
        raise KeyError("another")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("exported", [False, True])
def test_the_dense_network_in_any_dtype(dtype, exported):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.SiLU())
    image = torch.rand(1, 3, 8, 12)
    given = torch.export.export(net.eval(), (image,)) if exported else net.train()
    run = dense_runner(given, (8, 12), dtype=dtype)
    with torch.inference_mode():
        found, expected = run(image), net.eval()(image)
    assert found.dtype == getattr(torch, dtype) and net[0].weight.dtype == torch.float32
    tolerance = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 5e-2}[dtype]
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


def test_a_dense_network_that_does_not_run_in_half_precision():
    class Single(torch.nn.Conv2d):
        def forward(self, image):
            return super().forward(image.float())

    with pytest.raises(OptionError, match=r"--compare dense: .* does not run in float16 on cpu \(.*\); use --dtype"):
        dense_runner(Single(3, 4, 1), (8, 8), dtype="float16")


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
