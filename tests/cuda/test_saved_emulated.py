"""Saved models on target cuda: the file has plans and weights, and kernels come from the cache or the compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fluxshard
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.networks import TwoStrides

pytestmark = pytest.mark.requires_compiler
SIZE = (16, 24)


def test_a_loaded_model_runs_the_same_kernels(tmp_path: Path) -> None:
    options = fluxshard.CompileOptions(backend="emulated", dtype="float16")
    model = fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, *SIZE), options=options, target="cuda")
    saved = model.save(tmp_path / "m.fluxshard")
    assert saved.programs == ()
    loaded = fluxshard.load(tmp_path / "m.fluxshard")
    assert (loaded.backend, loaded.dtype) == ("emulated", "float16")
    with model.session(exact=True) as ours, loaded.session(exact=True) as theirs:
        for image, motion in frames("pan", SIZE, 3, seed=0):
            assert all(map(torch.equal, ours.run(image, motion), theirs.run(image, motion)))
