"""Settings of tests on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.gpu.place import CUDA, Place


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Lets a machine without pytest-timeout read our settings."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "ignored: pytest-timeout is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts last what makes the GPU fault: some drivers need a while after it, or do not recover."""
    items.sort(key=lambda item: "lost_device" in item.name)


@pytest.fixture
def place() -> Place:
    """The GPU."""
    return CUDA


@pytest.fixture(autouse=True)
def _float32_is_float32() -> Iterator[None]:
    """Islands run in torch, whose convolutions take TF32 by default."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
