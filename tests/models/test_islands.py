"""Islands of real networks: all of YOLO11's are generated, and are what torch makes of the same features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluxshard
from fluxshard.ir.params import Island
from fluxshard.ops.interpret import evaluate
from fluxshard.ops.reference import run_island
from fluxshard.options import CompileOptions
from fluxshard.runtime.session import Session

pytestmark = pytest.mark.requires_compiler
SIZE = (192, 320)


def _model(data_dir: Path, weights: str) -> fluxshard.CompiledModel:
    from fluxshard.models.loading import ultralytics

    with pytest.warns(UserWarning, match="runs Python code"):
        net = ultralytics.load(data_dir / "weights" / weights).net
    return fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=CompileOptions(backend="cpp"))


def _frames(data_dir: Path) -> list[Tensor]:
    clip = next(iter(sorted((data_dir / "videos").glob("sam2_juggle*"))))
    with fluxshard.video.open(str(clip), size=SIZE) as video:
        return [frame.image for frame, _ in zip(video, range(4), strict=False)]


def _features(session: Session, model: fluxshard.CompiledModel, image: Tensor) -> dict[str, Tensor]:
    """What every layer left, views included."""
    seen, values = session.inspect(), {model.plan.input: image}
    for layer in model.plan.layers:
        if layer.mode == "view":
            values[layer.output] = evaluate(layer, [values[name] for name in layer.inputs], {})
            continue
        for name in layer.outputs:
            stored = seen.value(name)
            if stored is not None:
                values[name] = stored
    return values


@pytest.mark.parametrize("weights", ["yolo11n-seg.pt", "yolo11n-pose.pt"])
def test_islands_of_yolo_are_generated_and_right(data_dir: Path, weights: str) -> None:
    model, images = _model(data_dir, weights), _frames(data_dir)
    assert not [row.name for row in model.explain().rows if row.kernel == "torch"]
    found: dict[int, list[bytes]] = {}
    before = torch.get_num_threads()
    for threads in (2, 1):
        torch.set_num_threads(threads)
        found[threads] = []
        with model.session(fluxshard.ReuseOptions(policy="planned"), keep_all=True) as session:
            for image in images:
                out = session.run(image)
                leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(out) if isinstance(leaf, Tensor)]
                found[threads] += [np.ascontiguousarray(leaf.numpy()).tobytes() for leaf in leaves]
            _check_islands(session, model, images[-1], leaves)
    torch.set_num_threads(before)
    assert found[1] == found[2]


def _check_islands(session: Session, model: fluxshard.CompiledModel, image: Tensor, leaves: list[Tensor]) -> None:
    values = _features(session, model, image)
    returned = dict(zip((leaf.value for leaf in model.plan.outputs), leaves, strict=True))
    islands = [layer for layer in model.plan.layers if isinstance(layer.params, Island)]
    assert len(islands) == 2
    for layer in islands:
        assert isinstance(layer.params, Island)
        names = {name: values[name] for name in layer.inputs} | {r: model.weights[name] for r, name in layer.weights}
        expected = run_island(layer.params.steps, names)
        for name in layer.outputs:
            one, two = values[name] if name in values else returned[name], expected[name]
            assert isinstance(two, Tensor)
            far = float((one - two).abs().max() / two.abs().max())
            assert far < 2e-6, f"{layer.name} {name}: {far:.2g} of its range from torch"


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_islands_look_at_maps_as_another_shape(backend: str) -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, image: Tensor) -> Tensor:
            x = self.conv(image)
            return x.view(8 * x.shape[2], -1).softmax(-1)

    torch.manual_seed(0)
    net, image = Rows().eval(), torch.rand(1, 3, 32, 48)
    model = fluxshard.compile(net, image, options=CompileOptions(backend=backend))  # type: ignore[arg-type]
    with model.session(exact=True) as session, torch.no_grad():
        for _ in range(2):
            assert torch.allclose(session.run(image), net(image), atol=1e-5)
            image = image.clone()
            image[..., 5:9, 7:20] = 0
