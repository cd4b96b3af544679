"""Recorded content: what is checked, what a replay sees of it, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.content.recorded_content import RecordedContent
from tests.unit.evaluate.offload.content.recordings import AGES, FRAMES, recording


def test_a_replay_sees_the_frames_after_the_oldest_cache() -> None:
    content = recording().of("raw")
    assert content.frames == FRAMES - 4
    assert content.work(0, 1) == (0.1,) and content.work(0, 4) == (0.4,)
    assert content.work(0, 3) == pytest.approx((0.3,)), "between two ages that were recorded"
    assert content.work(0, 50) == (0.4,), "older caches take the oldest"
    assert content.work(-1, 0) == (1.0,)
    assert content.work(6, 7) == content.work(0, 1)


@pytest.mark.parametrize(
    ("payload", "young", "whole"), [("raw", 3 * 10, 3 * 64), ("packed", 50, 150), ("bitstream", 0, 0)]
)
def test_bytes_of_a_payload(payload: Any, young: int, whole: int) -> None:
    """Frame 0 of the replay is the clip's fourth: 104 bytes of head."""
    content = recording().of(payload)
    assert content.frame_bytes(-1, 0) == whole
    assert content.frame_bytes(5, 6) == 104 + young
    if payload == "bitstream":
        assert content.video_bytes(-1, 0) == 200
        assert content.video_bytes(0, 2) == 60 + 70
        assert content.video_bytes(5, 6) == 50, "the clip's fourth packet, again"
        assert content.video_bytes(0, 4) == 200, "a keyframe takes less than four packets"
    else:
        assert content.video_bytes(-1, 0) == content.video_bytes(0, 5) == 0


def test_a_clip_that_is_shorter_than_its_oldest_cache() -> None:
    """Three frames: the second half is replayed, and knows caches of one and two frames."""
    short = recording(
        work=recording().work[:3], pixels=recording().pixels[:3], order_bytes=recording().order_bytes[:3],
        packed_bytes=recording().packed_bytes[:3], packed_key_bytes=np.full(3, 150.0), packet_bytes=np.ones(3),
        key_bytes=np.ones(3),
    ).of("raw")  # fmt: skip
    assert short.frames == 2
    assert short.work(1, 2) == (0.1,) and short.work(0, 2) == (0.1,)  # of frame 1, only age 1 is known
    assert short.work(0, 3) == (0.2,)


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    recording().save(path)
    found, expected = RecordedContent.load(path), recording()
    assert (found.name, found.ages, found.size, dict(found.facts)) == ("clip", AGES, (8, 8), {"task": "detect"})
    for name in ("work", "pixels", "order_bytes", "packed_bytes", "packed_key_bytes", "packet_bytes", "key_bytes"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6)


def test_files_that_are_not_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.npz"
    with pytest.raises(EvaluationError, match="No such file"):
        RecordedContent.load(path)
    path.write_bytes(b"no archive")
    with pytest.raises(EvaluationError, match="cannot be read"):
        RecordedContent.load(path)
    np.savez(path, head=np.zeros(3, np.uint8))
    with pytest.raises(EvaluationError, match="cannot be read"):
        RecordedContent.load(path)
    monkeypatch.setattr("fluxshard.evaluate.offload.content.recorded_content.FORMAT", 99)
    recording().save(path)
    monkeypatch.undo()
    with pytest.raises(EvaluationError, match="has format 99; this version reads 1"):
        RecordedContent.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ages": (2, 3, 4)}, "rising ages from 1"),
        ({"ages": (1, 4, 2)}, "rising ages from 1"),
        ({"packet_bytes": np.ones(1)}, "1 frames"),
        ({"work": recording().work[:, :, :0]}, "work of"),
        ({"work": recording().work[:5]}, "work of"),
        ({"work": 4 * recording().work}, "work above 1"),
        ({"pixels": recording().pixels[:, :2]}, "pixels of"),
        ({"pixels": 100 * recording().pixels}, "more pixels"),
        ({"packed_bytes": -recording().packed_bytes}, "packed_bytes has values"),
        ({"order_bytes": np.full((FRAMES, 3), np.nan)}, "order_bytes has values"),
        ({"key_bytes": np.zeros(FRAMES)}, "key_bytes must be"),
        ({"packed_key_bytes": np.ones(3)}, "packed_key_bytes must be"),
    ],
)
def test_arrays_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        recording(**changes)
