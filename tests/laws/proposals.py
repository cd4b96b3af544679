"""The law of proposals, for any backend: what is proposed is what then runs, and proposing changes nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import fluxshard
from fluxshard.testing.moving_frames import frames
from tests.laws.planned import SETTINGS, Open

REUSES = {
    "propagated": fluxshard.ReuseOptions(tau_input=0.02, tau=0.05, scene_cut=0.9),
    "exact": fluxshard.ReuseOptions(rfap="per_layer", input="fresh", scene_cut=1.0),
    "not remapped": fluxshard.ReuseOptions(remap=False, tau_input=0.02, scene_cut=0.95),
    "dense": fluxshard.ReuseOptions(execution="dense", tau_input=0.02, scene_cut=1.0),
    "planned": fluxshard.ReuseOptions(policy="planned", planned=SETTINGS[0], scene_cut=0.9),
    "planned, assembled": fluxshard.ReuseOptions(
        policy="planned", planned=SETTINGS[1], scene_cut=1.0, input="assembled"
    ),
}


def check(open_: Open, name: str, size: tuple[int, int], kind: str, seed: int, integer: bool = False) -> None:
    """Two streams see the same frames; one of them proposes them first, twice, and other frames in between."""
    other = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))
    with open_(REUSES[name]) as plain, open_(REUSES[name]) as proposing:
        for image, motion in frames(kind, size, 5, seed, integer):
            before = _state(proposing)
            proposing.propose(other, motion)
            offers = []
            for _ in range(2):
                offered = proposing.propose(image, motion)
                offers.append((offered.keyframe, offered.input_cells, offered.predicted_work))
                mask = offered.input_mask()
            assert offers[0] == offers[1]
            predicted = offers[1]
            assert _same(_state(proposing), before)
            expected, found = plain.run(image, motion), proposing.run(image, motion)
            assert all(torch.equal(a, b) for a, b in zip(tree_leaves(expected), tree_leaves(found), strict=True))
            counts = proposing.counted
            assert (counts.candidates == plain.counted.candidates).all()
            assert predicted[:2] == (counts.keyframe, counts.input_cells) and int(mask.sum()) == counts.input_cells
            assert (mask == proposing.recompute_mask()).all()
            if proposing.planned is None:
                assert predicted[2] == counts.input_cells / mask.size
            else:
                assert predicted[2] == proposing.planned.work_ratio
                assert (proposing.planned.counts.candidates == counts.candidates).all()


def _state(session: fluxshard.Session) -> list[object]:
    """What a stream shows of its last frame."""
    try:
        seen = session.inspect()
    except fluxshard.errors.StateError:
        return []
    stats = session.stats
    return [seen.input_mask(), session.origin, stats, session.counted.candidates.copy(), session.planned]


def _same(one: list[object], two: list[object]) -> bool:
    def equal(a: object, b: object) -> bool:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return torch.equal(a, b)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return bool((a == b).all())
        return a is b or a == b

    return len(one) == len(two) and all(map(equal, one, two))
