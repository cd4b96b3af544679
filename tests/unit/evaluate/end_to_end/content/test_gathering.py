"""What is known of clips: gathered once, and with other methods in a role."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate import runner
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.content import recordings
from fluxshard.evaluate.end_to_end.content.gathering import Gathering
from fluxshard.evaluate.end_to_end.settings import SETTINGS, methods_of
from fluxshard.evaluate.methods.method import delta_cnn
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.testing import write_clip
from fluxshard.testing.evaluation import SIZE
from fluxshard.testing.networks import bright_model
from tests.unit.evaluate.end_to_end.test_evaluation import EncodedPool
from tests.unit.evaluate.test_experiment import InlineExecutor

FRAMES = 5
METHODS = methods_of(SETTINGS["seg"], 32, ablated=False)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> EncodedPool:
    made = EncodedPool()
    monkeypatch.setattr(runner, "WorkerPool", made)
    monkeypatch.setattr(runner, "ProcessPoolExecutor", InlineExecutor)
    monkeypatch.setattr(recordings, "load", lambda *_: bright_model())
    return made


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    (tmp_path / "bright.pt").write_bytes(b"weights")
    return Setup(weights=tmp_path / "bright.pt", size="32x48", backend="reference", encoded=True)


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """A bright square that moves by 4 px a frame."""
    pictures = [np.full((*SIZE, 3), 60, np.uint8) for _ in range(FRAMES)]
    for number, picture in enumerate(pictures):
        picture[8:16, 4 * number : 4 * number + 8] = 230
    return Clip("square", write_clip(tmp_path / "square.mp4", pictures))


def test_another_method_takes_a_role(pool: EncodedPool, setup: Setup, clip: Clip, tmp_path: Path) -> None:
    gathering = Gathering(setup, tmp_path / "out", workers=1)
    assert gathering.size_of(clip) == SIZE
    gathered = gathering.gather([clip], METHODS)
    (before,) = gathered.materials
    assert set(before.answers) == set(METHODS) and gathered.measure == "miou"
    assert sorted(pool.ran) == sorted(method.name for method in METHODS.values())

    coarse = delta_cnn(0.9)  # nothing differs as much
    fine = delta_cnn(0.01)
    (after,), (other,) = gathering.with_methods([clip], gathered, [("deltacnn", coarse), ("deltacnn", fine)])
    assert pool.ran[len(METHODS) :] == [coarse.name, fine.name]
    assert other.answers["deltacnn"].compute[1:].any()
    assert not after.answers["deltacnn"].compute[1:].any() and before.answers["deltacnn"].compute[1:].any()
    assert not after.recordings["deltacnn"].pixels[1:, 0].any() and before.recordings["deltacnn"].pixels[1:, 0].any()
    assert after.answers["planned"] is before.answers["planned"]


def test_recordings_of_other_lengths_are_told(pool: EncodedPool, setup: Setup, clip: Clip, tmp_path: Path) -> None:
    gathering = Gathering(setup, tmp_path / "out", workers=1)
    gathered = gathering.gather([clip], METHODS)
    short = replace(gathered, materials=(replace(gathered.materials[0], jpeg_bytes=np.ones(2)),))
    with pytest.raises(EvaluationError, match=r"'square'.*\[2, 5\] frames.*evaluate again"):
        gathering.with_methods([clip], short, [("propagated", METHODS["propagated"])])
