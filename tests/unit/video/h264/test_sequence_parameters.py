from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.video.h264.sequence_parameters import most_references


def extradata(path: Path, options: dict[str, str], pixels: str = "yuv420p") -> bytes:
    """What a container says of a stream that x264 has made."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        found = container.streams.video[0].codec_context.extradata
    assert found
    return found


@pytest.mark.parametrize("suffix", ["mp4", "h264"])  # avcC, Annex B
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("more", ["", ":cqm=jvt", ":bframes=0"])
@pytest.mark.parametrize("references", [1, 3])
def test_as_the_encoder_was_told(tmp_path: Path, suffix: str, pixels: str, more: str, references: int) -> None:
    options = {"preset": "medium", "x264-params": f"ref={references}:bframes=0:keyint=30{more}"}
    assert most_references(extradata(tmp_path / f"a.{suffix}", options, pixels)) == references


def test_of_several_parameter_sets_the_largest_counts(tmp_path: Path) -> None:
    one, three = (
        extradata(tmp_path / f"{n}.h264", {"preset": "medium", "x264-params": f"ref={n}:bframes=0"}) for n in (1, 3)
    )
    assert most_references(one + three) == most_references(three + one) == 3


@given(st.binary(max_size=80), st.booleans(), st.integers(0, 80))
def test_anything_can_be_asked(data: bytes, avcc: bool, length: int) -> None:
    head = b"\x01dabc\xe1" + length.to_bytes(2, "big") + b"\x67" if avcc else b"\0\0\0\1\x67"
    found = most_references(head + data)
    assert found is None or found >= 0


def test_nothing_is_known_without_parameter_sets() -> None:
    assert most_references(b"") is None
    assert most_references(b"\0\0\0\1\x68\xce") is None
