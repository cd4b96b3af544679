"""Recording a clip: work and bytes of caches of every age."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.offload.content.recorded_content import RecordedContent
from fluxshard.evaluate.offload.content.recorder import RecordingOptions, record_content
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.testing import write_clip
from fluxshard.testing.evaluation import SIZE, bright_network

FRAMES = 7
PLANNED = ReuseOptions(
    policy="planned",
    planned=PlannedOptions(candidates=False, tau=0.02, tau_background=None, tau_small=None),
    scene_cut=1.0,
)
PROPAGATED = ReuseOptions(tau_input=0.02, tau=0.05, scene_cut=1.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A grey picture into whose left half noise comes with frame 4, and is gone with frame 5."""
    rng = np.random.default_rng(0)
    pictures = [np.full((*SIZE, 3), 128, np.uint8) for _ in range(FRAMES)]
    pictures[4][:, : SIZE[1] // 2] = rng.integers(0, 256, (SIZE[0], SIZE[1] // 2, 3), np.uint8)
    return Clip("grey", write_clip(tmp_path_factory.mktemp("clips") / "grey.mp4", pictures))


def record(clip: Clip, reuse: ReuseOptions, **options: object) -> RecordedContent:
    return record_content(clip, bright_network(), RecordingOptions(reuse=reuse, ages=(1, 2, 3), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("reuse", [PLANNED, PROPAGATED], ids=["planned", "propagated"])
def test_what_changed_is_recorded_for_every_age(clip: Clip, reuse: ReuseOptions, tmp_path: Path) -> None:
    found = record(clip, reuse)
    assert found.work.shape[:2] == (FRAMES, 3) and found.size == SIZE
    half = SIZE[0] * SIZE[1] / 2
    assert np.isnan(found.pixels[0]).all() and np.isnan(found.pixels[1, 1:]).all()
    still = [(2, 0), (3, 0), (3, 1), (3, 2), (6, 0)]  # by frame and column; not (6, 2), as the motion between is noise
    assert all(found.pixels[cell] < half / 4 and found.work[cell][0] < 0.25 for cell in still), found.pixels
    changed = [(4, 0), (4, 1), (4, 2), (5, 0), (6, 1)]
    assert all(found.pixels[cell] >= 0.9 * half and found.work[cell][0] > 0.4 for cell in changed), found.pixels
    assert found.packed_bytes[4, 0] > 10 * (found.packed_bytes[3, 0] + 1)
    assert found.packet_bytes[4] > 5 * found.packet_bytes[3]
    assert (found.key_bytes > 0).all() and (found.packed_key_bytes > 0).all()
    known = ~np.isnan(found.order_bytes)
    assert (found.order_bytes[known] > 0).all() and (found.order_bytes[known] < 1000).all()
    assert found.facts["policy"] == reuse.policy
    found.save(tmp_path / "grey.npz")
    assert RecordedContent.load(tmp_path / "grey.npz").of("packed").frames == FRAMES - 3


def test_fewer_frames_and_a_lower_rate(clip: Clip) -> None:
    assert len(record(clip, PLANNED, max_frames=4).packet_bytes) == 4
    assert len(record(clip, PLANNED, fps=12.5).packet_bytes) == 4  # every second one of 25 a second
    done: list[tuple[int, int]] = []
    options = RecordingOptions(reuse=PLANNED, ages=(1,), max_frames=2)
    record_content(clip, bright_network(), options, lambda one, count: done.append((one, count)))
    assert done == [(1, 2), (2, 2)]


@pytest.mark.parametrize("motion", ["blocks", "none", "global"])
def test_motion_is_what_the_method_sees(motion: str, tmp_path: Path) -> None:
    """A texture that pans by 8 px: at zero displacement all of it has changed."""
    wide = np.random.default_rng(0).integers(0, 256, (SIZE[0], SIZE[1] + 8 * FRAMES, 3)).astype(np.uint8)
    pictures = [np.ascontiguousarray(wide[:, 8 * number : 8 * number + SIZE[1]]) for number in range(FRAMES)]
    clip = Clip("pan", write_clip(tmp_path / "pan.mp4", pictures))
    reuse = ReuseOptions(tau_input=0.1, tau=0.1, scene_cut=1.0)
    found = record(clip, reuse, motion=motion)
    changed = float(found.pixels[3:, 0].mean()) / (SIZE[0] * SIZE[1])
    assert found.facts["motion"] == motion
    assert changed > 0.9 if motion == "none" else changed < 0.8


def test_clips_that_cannot_be_recorded(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="has one frame"):
        record(clip, PLANNED, max_frames=1)
    with pytest.raises(EvaluationError, match="clip 'none'"):
        record(Clip("none", tmp_path / "none.mp4"), PLANNED)
