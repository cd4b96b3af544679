"""Islands where the engine is: the device that they name, and the modes of torch that the caller is in."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

import fluxshard
from benchmarks.gpu_cases import stream_of
from fluxshard.ir.params import Island, IslandStep, Ref
from fluxshard.ops.reference import IslandProgram
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_islands import on_device
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import EXACT
from tests.cuda.small_net import SIZE, small_model, small_net


class Devices(nn.Module):
    """Names the device of its input, as heads that make their grids do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv(image)
        steps = torch.arange(x.shape[3], device=x.device).to(device=x.device, dtype=torch.float32)
        total = torch.cat([x.mean(1, keepdim=True), torch.zeros(x.shape[0], 1, *x.shape[2:], device=x.device)], 1)
        return (total + steps).to(device=x.device, dtype=torch.float64).sum((1, 2)).to(torch.float32)


def test_islands_name_the_device_of_the_engine() -> None:
    """The meta device stands in for a GPU: torch refuses to mix it with the processor."""
    options = fluxshard.CompileOptions(backend="reference")
    model = fluxshard.compile(Devices().eval(), torch.zeros(1, 3, 16, 16), options=options)
    seen = 0
    for layer in model.plan.layers:
        if not isinstance(layer.params, Island):
            continue
        seen += sum("cpu" in _arguments(step) for step in layer.params.steps)
        moved = on_device(layer.params.steps, torch.device("meta"))
        assert not [step for step in moved if "cpu" in _arguments(step)]
        names = {name: torch.zeros(model.plan.value(name).shape, device="meta") for name in layer.inputs}
        names |= {role: model.weights[name].to("meta") for role, name in layer.weights}
        results = IslandProgram(moved)(names)
        assert {result.device.type for result in results.values() if isinstance(result, Tensor)} == {"meta"}
    assert seen >= 1, "captured networks name no devices any more: this test shows nothing"


def _arguments(step: IslandStep) -> tuple[object, ...]:
    return (*step.args, *dict(step.kwargs).values())


def test_only_devices_are_replaced() -> None:
    steps = (
        IslandStep(name="a", target="aten.to.device", args=(Ref(name="x"), "cuda:3", "torch.float32")),
        IslandStep(name="b", target="aten.gelu.default", args=(Ref(name="a"),), kwargs=(("approximate", "none"),)),
        IslandStep(name="c", target="aten.zeros.default", args=((2, 3),), kwargs=(("device", None),)),
        IslandStep(name="d", target="getitem", args=(Ref(name="c"), 0)),
    )
    first, *others = on_device(steps, torch.device("cuda", 1))
    assert first.args == (Ref(name="x"), "cuda:1", "torch.float32")
    assert tuple(others) == steps[1:]


@pytest.mark.requires_compiler
@pytest.mark.parametrize("inside", [(True, False, True, False, False), (False, True, False, True, True)])
def test_a_stream_may_begin_in_inference_mode_and_go_on_outside(inside: tuple[bool, ...]) -> None:
    """And the reverse; what it keeps is written by islands in both."""
    net = small_net()
    options = fluxshard.CompileOptions(backend="emulated")
    with torch.inference_mode(inside[0]):
        model = fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=options, target="cuda")
    with model.session(EXACT) as session:
        for (image, motion), mode in zip(frames("blocks", SIZE, len(inside), 5), inside, strict=True):
            with torch.inference_mode() if mode else nullcontext():
                out = session.run(image.clone(), motion)
            assert not any(leaf.is_inference() or leaf.requires_grad for leaf in out.values())
            with torch.no_grad():
                assert_same(out, net(image))


@pytest.mark.requires_compiler
@pytest.mark.parametrize("remap", [True, False])
def test_what_an_island_reads_is_copied_again_only_where_it_changed(remap: bool) -> None:
    model = small_model()
    images = [image for image, _ in frames("garbage", SIZE, 2, 5)]
    reuse = fluxshard.ReuseOptions(rfap="per_layer", input="fresh", scene_cut=1.0, remap=remap)
    with model.session(reuse) as session:
        before = session.run(images[0])
        engine = model.specialise(images[0]).program.engine
        assert isinstance(engine, CudaEngine)
        layout, stream = engine._layout, stream_of(session)
        copies = {name: engine._dense(stream, name) for name in layout.dense_of if name not in layout.from_torch}
        assert copies
        kept = {name: copy.clone() for name, copy in copies.items()}
        again = session.run(images[0])
        assert_same(again, before, 0)
        for copy in copies.values():
            copy.fill_(7.5)
        session.run(images[0])
        stale = [bool((copy == 7.5).all()) for copy in copies.values()]
        assert all(stale) if remap else not any(stale)
        for name, copy in copies.items():
            copy.copy_(kept[name])
        with torch.no_grad():
            assert_same(session.run(images[1]), small_net()(images[1]))
        assert not any(torch.equal(copy, kept[name]) for name, copy in copies.items())
