"""What tests of whole networks share."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import pytest
import torch

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # definitions live as long as it does


@pytest.fixture(scope="session")
def timm() -> Any:
    """The package timm, also where the torchvision that it imports was built for another torch."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: pip install timm")
    try:
        return importlib.import_module("timm")
    except RuntimeError:  # such a torchvision lacks its operators; timm needs only their names
        for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            _OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        module = importlib.import_module("timm")
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # others take its presence for operators that work
        return module
