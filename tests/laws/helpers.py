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
