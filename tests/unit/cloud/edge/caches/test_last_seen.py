"""What has changed since the last answered frame, for results that are moved."""

from __future__ import annotations

import numpy as np
import torch

import fluxshard
from fluxshard.cloud.edge.caches.last_seen import LastSeen
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.testing.networks import TwoStrides

SIZE = (64, 96)
REUSE = ReuseOptions(
    policy="planned",
    planned=PlannedOptions(tau=0.02, tau_background=None, tau_small=None, wait_frames=0),
    scene_cut=1.0,
)
STILL = fluxshard.MotionField.zero(*SIZE)


def made() -> tuple[LastSeen, fluxshard.Session]:
    torch.manual_seed(0)
    model = fluxshard.compile(TwoStrides().eval(), options=fluxshard.CompileOptions(backend="reference"))
    program = model.specialise(torch.zeros(1, 3, *SIZE)).program
    return LastSeen(program, REUSE), model.session(REUSE)


def picture(left: int = 0) -> torch.Tensor:
    image = torch.zeros(1, 3, *SIZE)
    image[..., :8, left : left + 8] = 1.0
    return image


def test_nothing_is_done_before_somebody_asks() -> None:
    seen, _ = made()
    for _ in range(3):
        seen.advance(STILL)
        seen.take(picture())
    assert seen.changed() is None, "nobody had asked"
    seen.advance(STILL)
    seen.take(picture())
    assert seen.changed() is None, "of the first frame, nothing is known"
    seen.advance(STILL)
    seen.take(picture())
    shards = seen.changed()
    assert shards is not None and not shards.any()


def test_it_is_what_a_session_says_that_ran_the_last_frame_whole() -> None:
    seen, session = made()
    assert seen.glance(picture(), STILL) is None
    seen.advance(None)
    seen.take(picture())
    session.run(picture())
    for left in (0, 40):
        found, expected = seen.glance(picture(left), STILL), session.glance(picture(left), STILL)
        assert found is not None and expected is not None and (found == expected).all()
        assert found.any() == (left > 0)


def test_motion_since_the_last_frame_is_composed_here() -> None:
    """Two frames that nobody ran, and then one that is: everything has moved by 8 px, and nothing else has changed."""
    seen, _ = made()
    rng = np.random.default_rng(0)
    wide = torch.from_numpy(rng.random((1, 3, SIZE[0], SIZE[1] + 8), np.float32))
    seen.changed()
    seen.advance(None)
    seen.take(wide[..., 8:].contiguous())
    for _ in range(2):
        seen.advance(fluxshard.MotionField.uniform(*SIZE, 0, 4))
    seen.take(wide[..., :-8].contiguous())
    shards = seen.changed()
    assert shards is not None and not shards[:, 1:].any(), "but where something came into view"


def test_regions_of_the_last_frame_count() -> None:
    seen, _ = made()
    seen.focus(np.ones((8, 12), np.uint8))  # before there is a frame
    seen.changed()
    seen.advance(None)
    seen.take(picture())
    seen.focus(np.zeros((8, 12), np.uint8))
    found = seen.glance(picture(40), STILL)
    assert found is not None
