"""The laws of planned reuse, for any backend."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

import fluxshard
from fluxshard.motion import CELL_PX, cells
from fluxshard.options import LevelOptions, PlannedOptions
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import assert_same_counts, assert_same_decisions
from tests.laws.level_motions import levels_differ

SETTINGS = (
    PlannedOptions(tau=0.02),
    PlannedOptions(tau=0.05, tau_background=0.2, wait_frames=2, refresh_frames=5),
    PlannedOptions(tau=0.2, levels={2: LevelOptions(dilation=1), 4: LevelOptions(shard_px=16, low_pass_px=4)}),
    PlannedOptions(tau=0.05, candidates=False),
)


def options(planned: PlannedOptions, scene_cut: float = 1.0) -> fluxshard.ReuseOptions:
    return fluxshard.ReuseOptions(policy="planned", planned=planned, scene_cut=scene_cut)


# opens a stream whose images and results are on the host
Open = Callable[[fluxshard.ReuseOptions], fluxshard.Session]


def check_predictions(
    model: fluxshard.CompiledModel, open_: Open, size: tuple[int, int], kind: str, seed: int, which: int
) -> None:
    """What is planned before a frame is what the engine then does, layer by layer, and cell by cell."""
    rng = np.random.default_rng(seed)
    with open_(options(SETTINGS[which])) as session:
        for image, motion in frames(kind, size, 5, seed):
            session.run(image, motion)
            planned = session.planned
            assert planned is not None
            found = session.counted
            assert found.keyframe == planned.counts.keyframe
            assert (found.candidates == planned.counts.candidates).all()
            assert (found.executed == planned.counts.executed).all()
            assert found.input_cells == planned.counts.input_cells
            if planned.work is not None:
                seen = session.inspect()
                assert (seen.input_mask() == planned.work[0]).all()
                for layer in model.plan.layers:
                    found_cells = seen.candidates(layer.name)
                    if found_cells is not None:
                        grid = model.plan.value(layer.output).grid
                        assert grid is not None and (found_cells == planned.work[grid]).all(), layer.name
            session.focus(rng.random((cells(size[0], CELL_PX), cells(size[1], CELL_PX))) < 0.2)


def check_decisions(open_: Open, reference: Open, plan: fluxshard.Plan, kind: str, seed: int, which: int) -> int:
    """Law 4: results, counts, masks and slot maps are the reference's, and values on nets of integers.

    Returns:
      frames in which levels moved otherwise than the image.
    """
    differ = 0
    with open_(options(SETTINGS[which])) as made, reference(options(SETTINGS[which])) as expected:
        for image, motion in frames(kind, plan.image_size, 6, seed, integer=True):
            assert_same(made.run(image, motion), expected.run(image, motion), 0.0)
            assert_same_decisions(made, expected, plan, True)
            assert_same_counts(made.counted, expected.counted)
            planned = made.planned
            assert planned is not None
            if planned.proposal is not None and planned.proposal.motion is not None:
                differ += levels_differ(planned.proposal.motion, plan.grids)
    return differ


def check_no_work(open_: Open, size: tuple[int, int], seed: int) -> None:
    """Law 3: the same frame again costs nothing and changes no bit."""
    with open_(options(SETTINGS[0])) as session:
        image, motion = list(frames("static", size, 4, seed))[-1]
        before = tree_leaves(session.run(image, motion))
        after = tree_leaves(session.run(image, motion))
        assert session.stats.layers_executed == 0 and session.stats.compute_ratio == 0
        assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def check_cuts_are_whole(net: torch.nn.Module, open_: Open, size: tuple[int, int], seed: int) -> None:
    """A frame that has nothing in common with the one before is computed whole, and is exact."""
    noise = torch.rand(2, 1, 3, *size, generator=torch.Generator().manual_seed(seed))
    with open_(options(SETTINGS[0], scene_cut=0.85)) as session, torch.inference_mode():
        for image in noise:
            assert_same(session.run(image), net(image))
            assert session.stats.keyframe


def check_not_finite(net: torch.nn.Module, open_: Open, size: tuple[int, int], seed: int) -> None:
    """NaN and infinity are computed with, and nothing of such a frame is reused."""
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))
    broken = image.clone()
    broken[0, 1, size[0] // 2, size[1] // 2] = float("nan")
    with open_(options(SETTINGS[0])) as session, torch.inference_mode():
        session.run(image)
        session.run(broken)
        assert session.stats.keyframe
        assert_same(session.run(image), net(image))
        assert session.stats.keyframe
        session.run(image)
        assert session.stats.compute_ratio == 0
