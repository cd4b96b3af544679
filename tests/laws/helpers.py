"""Running a net and its session side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import fluxshard
from fluxshard.motion import MotionField

EXACT = fluxshard.ReuseOptions(rfap="per_layer", input="fresh", scene_cut=1.0)


def assert_same(out: object, expected: object, tolerance: float = 2e-4) -> None:
    """Equal structure and values within a tolerance relative to the range of the expected tensor."""
    got, spec = pytree.tree_flatten(out)
    want, spec_expected = pytree.tree_flatten(expected)
    assert spec == spec_expected
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        scale = max(1.0, float(b.abs().max()))
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale, equal_nan=True)


@torch.inference_mode()
def check_against_dense(
    net: torch.nn.Module,
    session: fluxshard.Session,
    sequence: Iterable[tuple[Tensor, MotionField | None]],
    tolerance: float = 2e-4,
) -> Iterator[fluxshard.FrameStats]:
    """Runs a sequence and asserts law 1 on every frame; yields each frame's statistics."""
    for image, motion in sequence:
        assert_same(session.run(image, motion), net(image), tolerance)
        yield session.stats


def assert_same_decisions(a: fluxshard.Session, b: fluxshard.Session, plan: fluxshard.Plan, values: bool) -> None:
    """Law 4: what both backends decided on the last frame."""
    one, two = a.inspect(), b.inspect()
    assert (one.input_mask() == two.input_mask()).all()
    for layer in plan.layers:
        if layer.mode == "view":
            continue
        if layer.mode == "sparse" and values:
            assert (one.candidates(layer.name) == two.candidates(layer.name)).all(), layer.name
        for name in layer.outputs if values else ():
            if one.mask(name) is not None:
                assert (one.mask(name) == two.mask(name)).all(), name
                assert (one.slots(name) == two.slots(name)).all(), name
                assert torch.equal(one.value(name), two.value(name)), name
    assert a.stats.recompute_ratio == b.stats.recompute_ratio and a.stats.keyframe == b.stats.keyframe
