from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from fluxshard.cloud.decoding import fingerprint
from fluxshard.cloud.decoding.fingerprint import PICTURE_SIZE, clip, decoder_fingerprint
from fluxshard.errors import VideoError
from fluxshard.video.h264.access_unit_decoder import AccessUnitDecoder
from fluxshard.video.h264.nal_units import starts_stream
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.picture import to_picture

ROOT = Path(__file__).resolve().parents[4]


def pattern(index: int) -> np.ndarray:
    """What the clip was encoded from, with x264's preset medium: waves that move, and a block that grows."""
    y, x = np.mgrid[0:98, 0:162] + np.array((1.25, -1.75))[:, None, None] * index
    waves = [np.sin(x / a) * np.cos(y / b) for a, b in ((5, 9), (11, 4), (7, 13))]
    picture = 128 + 100 * np.stack(waves, -1)
    picture[30 + 4 * index : 60, 50:90] = (230, 40, 60)
    return np.clip(picture, 0, 255).round().astype(np.uint8)


def test_the_clip_shows_its_pattern() -> None:
    assert len(files("fluxshard.cloud.decoding").joinpath("fingerprint.h264").read_bytes()) <= 8 << 10
    packets = clip()
    assert len(packets) == 6 and [starts_stream(data) for data in packets] == [True] + [False] * 5
    decoder, reformatter = AccessUnitDecoder(refuse_damage=True), VideoReformatter()
    for number, data in enumerate(packets):
        (frame,) = decoder.decode(number, data)
        picture = to_picture(frame, reformatter)
        assert picture.shape == (*PICTURE_SIZE, 3) and not frame.is_corrupt
        assert np.abs(picture.astype(int) - pattern(number)).mean() < 6


def test_the_fingerprint_is_that_of_the_machine() -> None:
    mine = decoder_fingerprint()
    assert mine == decoder_fingerprint() and len(mine) == 32 and int(mine, 16)
    code = "from fluxshard.cloud.decoding.fingerprint import decoder_fingerprint; print(decoder_fingerprint())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == mine


def test_another_conversion_or_scaling_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = decoder_fingerprint()

    def other_picture(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
        picture = to_picture(frame, reformatter).copy()
        picture[-1, -1, -1] ^= 1
        return picture

    class OtherLetterbox(Letterbox):
        def place(self, picture: np.ndarray) -> np.ndarray:
            placed = super().place(picture)
            placed[0, 0, 0] ^= 1
            return placed

    for name, other in (("to_picture", other_picture), ("Letterbox", OtherLetterbox)):
        with monkeypatch.context() as patch:
            patch.setattr(fingerprint, name, other)
            assert decoder_fingerprint() != mine


def test_a_build_that_cannot_decode_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "clip", lambda: [b"\0\0\0\1\x65\x88"])
    with pytest.raises(VideoError, match=r"cannot decode H\.264"):
        decoder_fingerprint()
