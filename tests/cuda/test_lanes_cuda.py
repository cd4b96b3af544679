"""Islands that treat every cell alone, such as the decoding of boxes: kernels of ours, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluxshard
from benchmarks.gpu_cases import stream_of
from benchmarks.plans import NAMES, load_plan
from fluxshard.codegen.common.islands.lanes import TILE
from fluxshard.codegen.cuda.islands.generate import tiled_islands
from fluxshard.codegen.cuda.launches.kernels import Kernel, Lanes
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.layer_kernels import LayerKernels
from fluxshard.ir.kernel import CUDA_ARCHES, CudaTarget
from fluxshard.ir.plan import LayerSpec
from fluxshard.options import DType
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_inspection import view
from fluxshard.runtime.session import Session
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import EXACT
from tests.cuda.test_bad_input import Refused, refuse

__all__ = ["refuse"]  # a fixture

pytestmark = pytest.mark.requires_compiler
SIZE = (32, 48)
CELLS = (16 * 24, 8 * 12)
SAME_ROWS = fluxshard.ReuseOptions(rfap="per_layer", scene_cut=1.0)


class Head(nn.Module):
    """Boxes of two levels, the first of which reads an upsampled map; and numbers that other folds make."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1)
        self.levels = nn.ModuleList((nn.Conv2d(8, 4 * 8 - 12, 1), nn.Conv2d(12, 4 * 8, 1)))
        self.scores = nn.ModuleList((nn.Conv2d(8, 5, 3, padding=1), nn.Conv2d(12, 5, 1)))
        self.bins = nn.Conv2d(8, 1, 1, bias=False)
        self.anchors = nn.Parameter(torch.rand(1, 2, sum(CELLS)))
        self.strides = nn.Parameter(torch.rand(1, sum(CELLS)) + 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = F.silu(self.fine(image))
        coarse = F.silu(self.coarse(fine))
        edges = [torch.cat([self.levels[0](fine), F.interpolate(coarse, scale_factor=2.0)], 1), self.levels[1](coarse)]
        box = torch.cat([one.flatten(2) for one in edges], 2)
        score = torch.cat([m(x).flatten(2) for m, x in zip(self.scores, (fine, coarse), strict=True)], 2)
        low, high = self.bins(box.view(1, 4, 8, -1).transpose(2, 1).softmax(1)).view(1, 4, -1).chunk(2, 1)
        corners = torch.cat([self.anchors - low, self.anchors + high], 1) * self.strides
        folds = [
            score.cos() * score.sin(),
            score.log_softmax(1),
            score.amax(1, keepdim=True),
            score.mean(1, keepdim=True),
        ]
        return torch.cat([corners, score.sigmoid()], 1), torch.cat([*folds, (box[:, :8] ** 2 + 1).sqrt()], 1)


def newly_compiled(dtype: DType = "float32") -> tuple[Head, fluxshard.CompiledModel]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = Head().eval()
    options = fluxshard.CompileOptions(backend="emulated", dtype=dtype)
    return net, fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=options, target="cuda")


compiled = cache(newly_compiled)  # once a process, for tests that change nothing before


def assert_near(found: Sequence[Tensor], net: Head, image: Tensor, tolerance: float) -> None:
    with torch.no_grad():
        for one, expected in zip(found, net(image), strict=True):
            assert float((one - expected).abs().max()) <= tolerance * float(expected.abs().max())


def same_bits(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))


def kept_in(session: Session, model: fluxshard.CompiledModel, image: Tensor) -> list[Tensor]:
    """What the island gave, where the stream keeps it."""
    engine = model.specialise(image).program.engine
    assert isinstance(engine, CudaEngine)
    arena = stream_of(session).arena
    names = [leaf.value for leaf in model.plan.outputs if leaf.value is not None]
    return [
        view(arena, engine._layout.cached_of[name].offset, torch.float32, model.plan.value(name).shape[1:])
        for name in names
    ]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float16", 4e-3)])
@pytest.mark.parametrize("kind", ["blocks", "garbage"])
def test_a_head_is_what_torch_computes_whatever_is_recomputed(dtype: DType, tolerance: float, kind: str) -> None:
    """And has the bits of a frame that is run whole, in both orders of launches."""
    net, model = compiled(dtype)
    assert [row.kernel for row in model.explain().rows if row.mode == "dense"] == ["emulated:island"]
    grids = model.plan.grids
    whole = {i: np.ones((grid.height, grid.width), np.bool_) for i, grid in enumerate(grids)}
    with model.session(EXACT) as session, model.session(SAME_ROWS) as planned:
        for image, motion in frames(kind, SIZE, 5, 4):
            found = session.run(image, motion)
            assert_near(found, net, image, tolerance)
            with model.session(EXACT) as fresh:
                assert same_bits(found, fresh.run(image))
            assert same_bits(planned.run_with_work(image, motion, whole), found)
        again = session.run(image)
        assert same_bits(again, session.run(image)) and session.stats.layers_executed == 0


@pytest.mark.parametrize(
    "reuse",
    [
        fluxshard.ReuseOptions(rfap="compact", tau=0.05, tau_input=0.02),
        fluxshard.ReuseOptions(rfap="per_layer", tau=0.05, input="fresh", remap=False),
        fluxshard.ReuseOptions(policy="planned"),
    ],
    ids=["compact", "not remapped", "planned"],
)
def test_tiles_that_are_left_have_the_bits_of_those_that_are_computed(
    reuse: fluxshard.ReuseOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever moves and is lost to thresholds; also where frames change from one order of launches to the other."""
    _, model = compiled("float32")
    described = LayerKernels.island

    def whole(self: LayerKernels, layer: LayerSpec, order: Order) -> Launch:
        return described(self, layer, replace(order, remap=False))  # which is when all tiles are computed

    monkeypatch.setattr(LayerKernels, "island", whole)
    _, computes_all = newly_compiled()
    rng = np.random.default_rng(1)
    kept = 0
    for kind in ("pan", "blocks", "cut"):
        with model.session(reuse) as session, computes_all.session(reuse) as other:
            for index, (image, motion) in enumerate(frames(kind, SIZE, 8, 6)):
                if reuse.policy == "planned" or index % 3:
                    found, expected = session.run(image, motion), other.run(image, motion)
                else:
                    cells = {i: rng.random((g.height, g.width)) < 0.1 for i, g in enumerate(model.plan.grids)}
                    found, expected = (one.run_with_work(image, motion, cells) for one in (session, other))
                assert same_bits(found, expected)
                kept += not session.stats.keyframe
    assert kept > 8, "hardly a frame reuses anything: this test shows little"


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("remap", [True, False])
def test_tiles_that_read_the_same_rows_keep_what_they_gave(planned: bool, remap: bool) -> None:
    _, model = compiled("float32")
    reuse = fluxshard.ReuseOptions(rfap="per_layer", scene_cut=1.0, remap=remap)
    generator = torch.Generator().manual_seed(2)
    first = torch.rand(1, 3, *SIZE, generator=generator)
    second = first.clone()
    second[..., 4:6, 40:42] += 0.5
    changed = (first != second).any(1)[0]

    def run(session: Session, image: Tensor, pixels: Tensor) -> Sequence[Tensor]:
        if not planned:
            return tuple(session.run(image))
        mask = F.max_pool2d(pixels.float()[None, None], 9, 1, 4)
        work = {
            i: F.adaptive_max_pool2d(mask, (grid.height, grid.width))[0, 0].numpy() > 0
            for i, grid in enumerate(model.plan.grids)
        }
        return tuple(session.run_with_work(image, None, work))

    with model.session(reuse) as session, model.session(reuse) as undisturbed:
        _, before = (run(one, first, torch.ones(SIZE)) for one in (session, undisturbed))
        kept = kept_in(session, model, first)
        for values in kept:
            values.fill_(7.5)
        found, expected = run(session, second, changed), run(undisturbed, second, changed)
        untouched = torch.stack([(values == 7.5).all(0) for values in kept]).all(0)
        differs = torch.stack([(one != two).any(1)[0] for one, two in zip(before, expected, strict=True)]).any(0)
        assert differs.any() and not (untouched & differs).any()
        if remap:
            assert untouched.float().mean() > 0.3
        else:
            assert not untouched.any(), "without remapping what was given stands for another frame"
        tiles = torch.cat([F.pad(part, (0, -len(part) % TILE)).view(-1, TILE) for part in untouched.split(CELLS)])
        assert bool((tiles.all(1) | ~tiles.any(1)).all()), "a tile is computed as a whole"
        for one, two in zip(found, expected, strict=True):
            assert torch.equal(one[..., ~untouched], two[..., ~untouched])


def test_a_head_whose_kernel_is_refused_runs_in_torch(refuse: Refused) -> None:
    def broken(kernel: Kernel) -> bool:
        return isinstance(kernel, Lanes)

    refuse(broken)
    with pytest.warns(RuntimeWarning, match="kernel fs_lanes_480_f32_.* was refused, island_0 will run in torch"):
        net, model = newly_compiled()
    (row,) = (row for row in model.explain().rows if row.mode == "dense")
    assert row.kernel == "torch" and "was refused" in row.note
    with model.session(EXACT) as session:
        for image, motion in frames("blocks", SIZE, 3, 4):
            assert_near(session.run(image, motion), net, image, 2e-5)


@pytest.mark.parametrize("arch", CUDA_ARCHES)
@pytest.mark.parametrize("name", NAMES)
def test_the_head_of_detectors_is_generated_everywhere(name: str, arch: str) -> None:
    plan = load_plan(name, 640)
    islands, reasons = tiled_islands(plan, CudaTarget(arch=arch, dtype="float16"))
    (island,) = islands.values()
    assert island.lanes.lanes == 8400 and list(reasons) == ["island_0"]


def test_programs_say_why_an_island_runs_in_torch() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, image: Tensor) -> Tensor:
            x: Tensor = self.conv(image).flatten(2)
            return x.softmax(-1)

    options = fluxshard.CompileOptions(backend="emulated")
    model = fluxshard.compile(Mean().eval(), torch.zeros(1, 3, *SIZE), options=options, target="cuda")
    (row,) = (row for row in model.explain().rows if row.mode == "dense")
    assert row.kernel == "torch" and "in torch: it does not treat every cell alone" in row.note
