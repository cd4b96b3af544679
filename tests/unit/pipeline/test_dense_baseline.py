"""The dense network in any dtype."""

from __future__ import annotations

import pytest
import torch

from fluxshard.errors import OptionError
from fluxshard.pipeline.dense_baseline import dense_network


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("exported", [False, True])
def test_the_dense_network_in_any_dtype(dtype, exported):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.SiLU())
    image = torch.rand(1, 3, 8, 12)
    given = torch.export.export(net.eval(), (image,)) if exported else net.train()
    run = dense_network(given, (8, 12), dtype=dtype)
    with torch.inference_mode():
        found, expected = run(image), net.eval()(image)
    assert found.dtype == getattr(torch, dtype) and net[0].weight.dtype == torch.float32
    tolerance = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 5e-2}[dtype]
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


def test_a_dense_network_that_does_not_run_in_half_precision():
    class Single(torch.nn.Conv2d):
        def forward(self, image):
            return super().forward(image.float())

    with pytest.raises(OptionError, match=r"^the original network does not run in float16 on cpu \(.*\)$"):
        dense_network(Single(3, 4, 1), (8, 8), dtype="float16")
