"""Plans of detectors, kept here so that kernels are measured and checked without the library that defines them.

    python -m benchmarks.plans

writes benchmarks/plans/*.json.gz anew, which needs `pip install 'fluxshard[yolo]'` and downloads nothing: only shapes
matter, so weights are random. Reading a plan needs torch and numpy alone, and `seeded_weights` gives it weights.
"""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fluxshard.ir.plan import Plan

if TYPE_CHECKING:
    from torch import nn

FOLDER = Path(__file__).parent / "plans"
NAMES = ("yolo11n", "yolo11n-seg", "yolo11m")
SIZES = (640, 1024)
STRIDES = (8, 16, 32)  # of their heads
_GAIN = 2.4  # ReLU keeps the scale with 2, SiLU with 2.8 at most: here no layer's numbers fade, and none exceeds 100
_BIAS = 0.1


def load_plan(name: str, size: int) -> Plan:
    """The plan of a detector of `NAMES` for square images of one of `SIZES`."""
    return Plan.from_json(gzip.decompress((FOLDER / f"{name}_{size}.json.gz").read_bytes()).decode())


def seeded_weights(plan: Plan, seed: int = 0) -> dict[str, Tensor]:
    """Weights that keep the scale of activations (He et al., 2015), bit for bit the same on every machine.

    Constants of islands are those of a detector's head: bins of a box's edge, and where its cells lie. Nothing else is
    known in `NAMES`.
    """
    random = torch.Generator().manual_seed(seed)
    roles = _roles(plan)
    weights: dict[str, Tensor] = {}
    for spec in plan.weights:
        role = roles[spec.name]
        if role == "weight":
            fan_in = spec.shape[1] * spec.shape[2] * spec.shape[3]
            weights[spec.name] = _normal(random, spec.shape) * math.sqrt(_GAIN / fan_in)
        elif role == "bias":
            weights[spec.name] = _normal(random, spec.shape) * _BIAS
        else:
            assert role == spec.name, f"weight {spec.name} has the role {role}, and no rule says what it is like"
            weights[spec.name] = _constant(plan, spec.shape)
    return weights


def _roles(plan: Plan) -> dict[str, str]:
    return {name: role for layer in plan.layers for role, name in layer.weights}


def _normal(random: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Nearly normal: sums of uniform numbers, as torch.randn takes logarithms that differ between processors."""
    a, b, c, d = torch.rand(4, *shape, generator=random)
    total: Tensor = (a + b) + (c + d)
    return (total - 2) * math.sqrt(3)


def _constant(plan: Plan, shape: tuple[int, ...]) -> Tensor:
    """Bins `(1, n, 1, 1)` of a box's edge, middles `(1, 2, n)` of all cells, in cells, or their strides `(1, n)`."""
    if len(shape) == 4:
        return torch.arange(shape[1], dtype=torch.float32).reshape(shape)
    levels = {grid.stride_y: grid for grid in plan.grids if grid.stride_y in STRIDES}
    grids = [levels[stride] for stride in sorted(levels)]
    if len(shape) == 2:
        return torch.cat([torch.full((1, grid.cells), float(grid.stride_y)) for grid in grids], 1)
    middles = []
    for grid in grids:
        y, x = torch.meshgrid(torch.arange(grid.height) + 0.5, torch.arange(grid.width) + 0.5, indexing="ij")
        middles.append(torch.stack((x.flatten(), y.flatten())))
    return torch.cat(middles, 1).reshape(shape)


def describe(name: str, size: int) -> Plan:
    """The plan of an architecture of the Ultralytics library, its head set up as `fluxshard.models` does."""
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
    from ultralytics import YOLO

    import fluxshard

    net: nn.Module = YOLO(f"{name}.yaml").model.float().eval()
    net.model[-1].export = True  # type: ignore[index, union-attr]  # it also returns undecoded maps, for training
    options = fluxshard.CompileOptions(backend="reference")
    model = fluxshard.compile(net, torch.zeros(1, 3, size, size), options=options)
    drawn = seeded_weights(model.plan)
    for constant in (name for name, role in _roles(model.plan).items() if name == role):
        assert torch.equal(model.weights[constant], drawn[constant]), f"{constant} is not as described"
    return model.plan


def main() -> None:
    """Writes all plans."""
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        for size in SIZES:
            plan = describe(name, size)
            packed = gzip.compress(plan.to_json().encode(), mtime=0)
            path = FOLDER / f"{name}_{size}.json.gz"
            path.write_bytes(packed)
            print(f"{path}: {len(plan.layers)} layers, {plan.macs / 1e9:.1f} GMAC, {len(packed)} bytes")


if __name__ == "__main__":
    main()
