"""Recordings on disk: made once, for everything that they depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.content import recordings as module
from fluxshard.evaluate.end_to_end.content.recordings import AGES, Networks, Recordings, load_arrays
from fluxshard.evaluate.end_to_end.settings import SETTINGS, methods_of
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.testing import write_clip
from fluxshard.testing.evaluation import SIZE
from fluxshard.testing.networks import bright_model

FRAMES = 5
METHODS = methods_of(replace(SETTINGS["seg"], scale=1.0), 32)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Recordings, Clip]:
    """Recordings of a clip with a bright square that moves by 8 px a frame."""
    weights = tmp_path / "bright.pt"
    weights.write_bytes(b"weights")
    monkeypatch.setattr(module, "load", lambda *_: bright_model())
    pictures = [np.full((*SIZE, 3), 60, np.uint8) for _ in range(FRAMES)]
    for number, picture in enumerate(pictures):
        picture[8:16, 8 * number : 8 * number + 8] = 230
    clip = Clip("square", write_clip(tmp_path / "square.mp4", pictures))
    setup = Setup(weights=weights, size="32x48", backend="reference", encoded=True)
    return Recordings(setup, Networks(setup), tmp_path / "out"), clip


def test_contents_are_recorded_once(made: tuple[Recordings, Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    recordings, clip = made
    first = {role: recordings.content(clip, METHODS[role]) for role in ("planned", "propagated", "deltacnn")}  # type: ignore[index]
    assert all(one.work.shape[:2] == (FRAMES, len(AGES)) for one in first.values())
    assert first["planned"].facts["policy"] == "planned" and first["deltacnn"].facts["motion"] == "none"
    monkeypatch.setattr(module, "record_content", lambda *_: pytest.fail("recorded again"))
    again = recordings.content(clip, METHODS["planned"])
    np.testing.assert_array_equal(again.packed_bytes, first["planned"].packed_bytes)
    # the check of receptive fields does not change which pixels go up
    recordings.content(clip, METHODS["RFAP per layer"])
    with pytest.raises(pytest.fail.Exception, match="recorded again"):
        recordings.content(clip, METHODS["w/o remap"])


def test_pictures(made: tuple[Recordings, Clip]) -> None:
    recordings, clip = made
    found = recordings.pictures(clip)
    assert (found.jpeg_bytes > 100).all() and (found.jpeg_bytes < 3 * SIZE[0] * SIZE[1]).all()
    known = np.isfinite(found.similarity)
    np.testing.assert_array_equal(known, np.arange(FRAMES)[:, None] >= np.array(AGES))
    assert (found.similarity[known] < 0.999).all() and (found.similarity[known] > 0.3).all()
    stored = next(
        path for path in (Path(recordings.path_of_moved(clip, METHODS["planned"], "f1")).parent).glob("*pictures*")
    )
    assert set(load_arrays(stored)) == {"jpeg_bytes", "similarity"}
    stored.write_bytes(b"damaged")
    with pytest.raises(EvaluationError, match="delete it"):
        recordings.pictures(clip)
