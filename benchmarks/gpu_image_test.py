"""The image test of planned reuse on a device: its decisions against the definition's, and what a proposal takes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_cases import Built, Case, Place
from fluxshard.backends import image_tests
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.options import CompileOptions, PlannedOptions
from fluxshard.runtime.planned.cuda_image_test import CudaImageTest
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.levels import levels_of
from fluxshard.runtime.planned.planner import ImageTest
from fluxshard.runtime.planned.proposal import ShardProposal

SMOOTH_PX = (
    64  # of the picture: features of whole cells may be a pixel or two away from their content without being due
)


def pictures(case: Case, n: int) -> list[tuple[Tensor, MotionField | None]]:
    """Smooth pictures on the host that pan by 3 px a frame; a tenth of the cells moves otherwise than it is said to."""
    height, width = case.plan.image_size
    generator, rng = torch.Generator().manual_seed(5), np.random.default_rng(5)
    coarse = torch.rand(1, 3, -(-height // SMOOTH_PX) + 4, -(-width // SMOOTH_PX) + 4, generator=generator)
    scene = torch.nn.functional.interpolate(coarse, scale_factor=SMOOTH_PX, mode="bilinear")
    shape = cells(height, CELL_PX), cells(width, CELL_PX)
    found: list[tuple[Tensor, MotionField | None]] = []
    for number in range(n):
        image = scene[:, :, 3 * number : 3 * number + height, 3 * number : 3 * number + width].contiguous()
        moved = np.full((*shape, 2), -3)
        wrong = rng.random(shape) < 0.1
        moved[wrong] = rng.integers(-9, 10, (int(wrong.sum()), 2))
        found.append((image, MotionField(moved, rng.random(shape) < 0.98) if number else None))
    return found


def measure(case: Case, built: Built, place: Place, repeats: int) -> dict[str, Any]:
    """Figures of one network.

    Args:
      case, built, place: what runs where.
      repeats: proposals that are timed.

    Returns:
      `alike`: every decision is the definition's; `recomputed`: share of shards, of the last frame; `ms`: a proposal,
      from the call until the shards are here; `fetched_bytes` and `state_bytes`.
    """
    options = PlannedOptions()
    levels = levels_of(case.plan, options)
    make = image_tests(case.plan, CompileOptions(backend=place.device), engine=built.engine)  # type: ignore[arg-type]
    tested = make(case.plan.grids[0], levels, case.plan.grids, options)
    assert isinstance(tested, CudaImageTest), "the test is not on the device"
    defined = ReferenceImageTest(case.plan.grids[0], levels, case.plan.grids, options)
    alike, shares = True, 1.0
    stream = pictures(case, 4)
    for number, (image, motion) in enumerate(stream):
        there = image.to(place.torch_device)
        if number == 0:
            defined.keyframe(image)
            tested.keyframe(there)
            continue
        expected, found = _decided(defined, image, motion), _decided(tested, there, motion)
        alike = alike and _same(expected, found)
        shares = float(np.mean([mask.mean() for mask in found.shards]))
    image, motion = stream[-1]
    propose = partial(tested.propose, image.to(place.torch_device), motion)
    for _ in range(3):
        propose()
    times = [place.clock.once(propose)[0] for _ in range(repeats)]
    return {
        "alike": alike, "recomputed": shares, "ms": statistics.median(times),
        "fetched_bytes": tested.fetched_bytes, "state_bytes": tested.n_bytes,
    }  # fmt: skip


def key_figure(label: str, found: dict[str, Any]) -> str:
    """A line of the summary."""
    decides = "as its definition does" if found["alike"] else "OTHERWISE THAN ITS DEFINITION"
    return (
        f"{label}: the image test decides {decides}; a proposal takes {found['ms']:.3f} ms and fetches "
        f"{found['fetched_bytes'] / 1e3:.1f} kB ({found['recomputed']:.0%} of the shards)"
    )


def _decided(test: ImageTest, image: Tensor, motion: MotionField | None) -> ShardProposal:
    proposal = test.propose(image, motion)
    assert proposal is not None, "pictures are finite"
    test.commit(proposal)
    return proposal


def _same(expected: ShardProposal, found: ShardProposal) -> bool:
    masks: Sequence[tuple[np.ndarray, np.ndarray]] = list(zip(expected.shards, found.shards, strict=True))
    if not all(np.array_equal(one, two) for one, two in masks) or (expected.motion is None) != (found.motion is None):
        return False
    if expected.motion is None or found.motion is None:
        return True
    fields = zip(
        (expected.motion.image, *expected.motion.levels), (found.motion.image, *found.motion.levels), strict=True
    )
    return all(np.array_equal(a.valid, b.valid) and np.array_equal(a.displacement, b.displacement) for a, b in fields)
