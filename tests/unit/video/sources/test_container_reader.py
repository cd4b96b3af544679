"""Containers that give what no film here does: packets without end that hold no picture, and rates of no film."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from fluxshard import video
from fluxshard.errors import StreamLostError
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning
from fluxshard.video.sources import container_reader
from fluxshard.video.sources.container_reader import ContainerReader, Reading

SIZE, N = (64, 96), 12
Packets = Iterator[av.Packet]


class Doctored:
    """A container that gives other packets than its own."""

    def __init__(self, container: av.container.InputContainer, given: Callable[[Packets], Packets]) -> None:
        self._container, self._given = container, given

    def __getattr__(self, name: str) -> object:
        return getattr(self._container, name)

    def demux(self, *streams: object) -> Packets:
        return self._given(self._container.demux(video=0))


def doctored(
    path: Path, given: Callable[[Packets], Packets], *, live: bool = True, packets: bool = False, timeout_s: float = 0.3
) -> ContainerReader:
    how = Reading(name="a", strict=False, live=live, vectors=True, packets=packets, timeout_s=timeout_s)
    return ContainerReader(Doctored(av.open(str(path)), given), how)  # type: ignore[arg-type]


def unreadable(packet: av.Packet, pts: int | None = None) -> av.Packet:
    made = av.Packet(b"\xff" * 40)
    made.stream, made.pts = packet.stream, pts
    return made


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "a.mkv", panning(SIZE, (0, 4), N))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("packets", [False, True])
@pytest.mark.parametrize("count", [0, 3])
def test_packets_that_never_decode_are_a_lost_stream(clip: Path, packets: bool, count: int) -> None:
    def given(own: Packets) -> Packets:
        first = next(own)
        yield from [first, next(own), next(own)][:count]
        while True:
            time.sleep(0.005)
            yield unreadable(first)

    reader, seen = doctored(clip, given, packets=packets), []
    todo = (
        "open it again$" if count else "open it again, with a larger timeout_s where its keyframes are further apart$"
    )
    with pytest.raises(StreamLostError, match=rf"no picture came for 0\.3 s, after {count} frames; {todo}"):
        seen.extend(reader.frames())
    reader.close()
    assert len(seen) == count


@pytest.mark.timeout(30)
def test_pictures_that_all_lack_a_part_are_a_lost_stream(clip: Path) -> None:
    def given(own: Packets) -> Packets:
        first = next(own)
        pts, data = first.pts or 0, bytes(first)
        yield first
        while True:
            time.sleep(0.005)
            again = av.Packet(data)
            again.stream, again.pts, again.is_corrupt = first.stream, pts, True
            pts += 40
            yield again

    reader, seen = doctored(clip, given), []
    with pytest.raises(StreamLostError, match=r"no picture came for 0\.3 s, after 1 frames; open it again"):
        seen.extend(reader.frames())
    reader.close()
    assert len(seen) == 1 and reader.damaged > 1


def test_whoever_is_slow_to_take_pictures_does_not_lose_the_stream(clip: Path) -> None:
    reader, seen = doctored(clip, lambda own: own, timeout_s=0.5), 0
    for _ in reader.frames():
        seen += 1
        if seen in (1, 6):
            time.sleep(0.6)
    reader.close()
    assert seen == N


def test_what_comes_before_the_first_picture_does_not_fill_the_memory(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_reader, "_MOST_READ", 50)

    def given(own: Packets, count: int) -> Packets:
        first = next(own)
        yield from (unreadable(first) for _ in range(count))
        yield first
        yield from own

    for count, sent in ((40, True), (60, False)):
        reader = doctored(clip, lambda own, count=count: given(own, count), packets=True)
        assert len(list(reader.frames())) == N
        assert reader.carries_packets is sent
        reader.close()


def test_a_stamp_that_returns_is_not_that_of_what_was_damaged(clip: Path) -> None:
    with av.open(str(clip)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.size]

    def given(own: Packets) -> Packets:
        first = next(own)
        yield first
        broken = unreadable(first, stamps[6])  # as before the stream has gone back in time
        broken.is_corrupt = True
        yield broken
        yield from own

    reader = doctored(clip, given, live=False)
    assert [picture.frame.pts for picture in reader.frames()] == stamps
    assert reader.damaged == 1
    reader.close()


@pytest.mark.parametrize(
    ("rate", "known"),
    [(Fraction(25), True), (Fraction(90_000), False), (Fraction(2000), False), (Fraction(1, 200), False)],
)
def test_rates_that_no_film_has_are_unknown(tmp_path: Path, rate: Fraction, known: bool) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"x264-params": "bframes=0"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for index, picture in enumerate(panning(SIZE, (0, 4), 4)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with video.open(path, size=SIZE) as source:
        assert source.fps == (float(rate) if known else None)
        times = [frame.time_s for frame in source]
    assert times == pytest.approx([index / rate for index in range(4)], abs=1e-4)
    with video.VideoWriter(tmp_path / "b.mp4", SIZE, source.fps or 30.0):
        pass
