"""Flags that go together."""

from __future__ import annotations

import re

import pytest

from fluxshard.cli.support.checks import check_device
from fluxshard.errors import OptionError


@pytest.mark.parametrize(
    ("device", "dtype", "backend", "message"),
    [
        ("tpu", "float32", "auto", "--device (='tpu') must be cpu, cuda or cuda:N"),
        ("cuda:x", "float32", "auto", "--device (='cuda:x') must be"),
        ("cpu", "float16", "auto", "--dtype float16 is for --device cuda; --device cpu stores float32 or bfloat16"),
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
    [
        ("cpu", "float32", "cpp"),
        ("cpu", "bfloat16", "auto"),
        ("cuda", "float16", "auto"),
        ("cuda:3", "bfloat16", "emulated"),
    ],
)
def test_devices_that_go_together(device, dtype, backend):
    check_device(device, dtype, backend)
