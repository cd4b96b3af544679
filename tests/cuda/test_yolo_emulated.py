"""A whole YOLO11n at 64x64 through the emulator: the reference's result, and the laws of reuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fluxshard
from fluxshard.ops.interpret import interpret
from fluxshard.options import DType
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import EXACT
from tests.gpu.networks import rounded

pytestmark = [pytest.mark.requires_compiler, pytest.mark.timeout(600)]
SIZE = (64, 64)
TORCH = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """The architecture with seeded weights: the file that holds it comes with the package."""
    ultralytics = pytest.importorskip("ultralytics", reason="ultralytics is not installed: pip install '.[yolo]'")
    torch.manual_seed(0)
    net: nn.Module = ultralytics.YOLO("yolo11n.yaml").model.eval()
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():  # statistics that keep values in scale, as training would
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    with torch.no_grad():
        net.train()
        for _ in range(3):
            net(torch.rand(4, 3, *SIZE, generator=generator))
    return net.eval()


@pytest.mark.parametrize(
    ("dtype", "arch"),
    [("float16", "sm_80"), pytest.param("float32", "sm_80", marks=pytest.mark.slow),
     pytest.param("float16", "sm_75", marks=pytest.mark.slow),
     pytest.param("bfloat16", "sm_80", marks=pytest.mark.slow)],
)  # fmt: skip
def test_yolo11n(net: nn.Module, dtype: DType, arch: str) -> None:
    options = fluxshard.CompileOptions(backend="emulated", dtype=dtype, arch=arch)
    model = fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=options, target="cuda")
    plan, weights = model.plan, dict(model.weights)
    with model.session(EXACT) as session, model.session(EXACT) as whole, torch.inference_mode():
        for image, motion in frames("blocks", SIZE, 3, 4):
            out, dense = session.run(image, motion)[0], net(image)[0]
            assert out.isfinite().all()
            reference = interpret(plan, weights, image)[0]
            assert isinstance(reference, Tensor)
            torch.testing.assert_close(reference, dense, atol=1e-3, rtol=1e-3)
            least = float((rounded(plan, weights, image, TORCH[dtype]) - reference).abs().max())
            assert float((out - reference).abs().max()) <= 2 * least + 2e-3, "more than the stored type explains"
            whole.reset()
            torch.testing.assert_close(out, whole.run(image)[0], atol=1e-3 + least, rtol=0)
        again = session.run(image)[0]
        assert torch.equal(again, session.run(image)[0])
        assert session.stats.layers_executed == 0
        # given work takes the other order of launches; with all of it the result is that of the whole frame
        work = {i: torch.ones(grid.height, grid.width, dtype=torch.bool).numpy() for i, grid in enumerate(plan.grids)}
        torch.testing.assert_close(whole.run_with_work(image, None, work)[0], again, atol=1e-3 + least, rtol=0)
        assert whole.stats.compute_ratio == pytest.approx(1.0)
