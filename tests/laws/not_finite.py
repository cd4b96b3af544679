"""What the exact setting makes of pixels that are not finite."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

import fluxshard
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import EXACT


class Sized(Protocol):
    """A network and the size of its images."""

    size: tuple[int, int]

    def __call__(self, image: Tensor) -> dict[str, Tensor]: ...


def check_nan_and_infinity(net: Sized, model: fluxshard.CompiledModel, seed: int, tolerance: float = 2e-4) -> None:
    """A NaN spreads as in the dense net, is recomputed while it is there, and is gone with its pixel."""
    (clean, _), *_ = frames("static", net.size, 1, seed)
    broken = clean.clone()
    broken[0, 1, 7, 9] = float("nan")
    broken[0, 0, 12, 3] = float("inf")
    with model.session(EXACT) as session, torch.inference_mode():
        session.run(clean)
        for image in (broken, broken, clean):
            out, dense = session.run(image), net(image)
            for name in out:
                assert (out[name].isfinite() == dense[name].isfinite()).all()
        assert_same(out, dense, tolerance)
