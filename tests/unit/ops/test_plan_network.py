"""A plan as a torch module."""

from __future__ import annotations

import pytest
import torch

import fluxshard
from fluxshard.errors import ShapeError
from fluxshard.ops.plan_network import PlanNetwork
from fluxshard.testing.networks import TwoStrides

SIZES = ((16, 24), (8, 12))


def test_it_returns_what_the_network_returns() -> None:
    net, plans = TwoStrides().eval(), []
    model = fluxshard.compile(net, options=fluxshard.CompileOptions(backend="reference"))
    for size in SIZES:
        model.specialise(torch.zeros(1, 3, *size))
        plans.append((model.plan, model.weights))
    dense = PlanNetwork(plans)
    for size in SIZES:
        image = torch.rand(1, 3, *size)
        with torch.no_grad():
            torch.testing.assert_close(dense(image), net(image))
    with pytest.raises(ShapeError, match="image is 24x16; the network's plans are for 16x24, 8x12"):
        dense(torch.zeros(1, 3, 24, 16))
