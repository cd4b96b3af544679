"""HLS: a playlist that moves on, from a server that is killed and comes back."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import av
import numpy as np
import pytest

from fluxshard import video
from fluxshard.errors import VideoError
from fluxshard.testing.pictures import panning
from fluxshard.video.live.options import LiveOptions
from tests.unit.video.live.servers import Server, nothing_left

SIZE = (64, 96)
SEGMENT_S, SEGMENTS, WINDOW = 0.2, 40, 4


def segments(place: Path, size: tuple[int, int]) -> Path:
    """Cuts a clip into short files, each of which begins with a keyframe."""
    place.mkdir()
    with av.open(
        str(place / "all.m3u8"),
        "w",
        format="hls",
        options={"hls_time": str(SEGMENT_S), "hls_list_size": "0", "hls_segment_filename": str(place / "%d.ts")},
    ) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"preset": "ultrafast", "x264-params": "keyint=5:min-keyint=5:scenecut=0:bframes=0"}
        for picture in panning(size, (0, 1), round(25 * SEGMENT_S * SEGMENTS)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return place


class Broadcast:
    """Serves the newest segments, as time passes.

    Args:
      place: of the segments.
      ends: whether the list is that of a film, with an end.
    """

    def __init__(self, place: Path, *, ends: bool = False) -> None:
        self._place, self._ends = place, ends
        self._start_s = time.monotonic()

    def __call__(self, client: socket.socket, number: int) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            got = client.recv(4096)
            if not got:
                return
            request += got
        path = request.split()[1].decode()
        if path.endswith(".m3u8"):
            body = self._playlist().encode()
        else:
            body = (self._place / Path(path).name).read_bytes()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode() + body)

    def _playlist(self) -> str:
        newest = SEGMENTS if self._ends else min(WINDOW + int((time.monotonic() - self._start_s) / SEGMENT_S), SEGMENTS)
        oldest = 0 if self._ends else max(newest - WINDOW, 0)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{oldest}"]
        for number in range(oldest, newest):
            lines += [f"#EXTINF:{SEGMENT_S},", f"{number}.ts"]
        return "\n".join(lines + (["#EXT-X-ENDLIST"] if self._ends else [])) + "\n"


def test_a_film_over_hls_has_an_end(tmp_path: Path) -> None:
    with (
        Server(Broadcast(segments(tmp_path / "a", SIZE), ends=True)) as server,
        nothing_left(),
        video.open_live(f"http://127.0.0.1:{server.port}/all.m3u8", size=SIZE) as source,
    ):
        assert not source.is_paced and not source.keeps_newest
        frames = list(source)
    assert len(frames) == round(25 * SEGMENT_S * SEGMENTS)
    assert (source.stats.gaps, source.stats.connections, source.stats.damaged) == (0, 1, 0)


@pytest.mark.timeout(90)
def test_a_broadcast_that_is_off_the_air_for_a_while(tmp_path: Path) -> None:
    places = [segments(tmp_path / "a", SIZE), segments(tmp_path / "b", (96, 64))]
    options = LiveOptions(first_delay_s=0.05, most_delay_s=0.1, timeout_s=1.0)
    server = Server(Broadcast(places[0]))
    port = server.port
    with nothing_left():
        with video.open_live(f"http://127.0.0.1:{port}/live.m3u8", size=SIZE, live=options) as source:
            frames = [next(source) for _ in range(30)]
            for count in (1, 2):
                server.__exit__()
                time.sleep(0.3)
                server = Server(Broadcast(places[count % 2]), port)
                while source.stats.gaps < count or not frames[-1].starts_anew:
                    frames.append(next(source))
                frames += [next(source) for _ in range(8)]
        server.__exit__()
        server = Server(Broadcast(places[0]))  # as many threads and files as before
    server.__exit__()
    anew = [frame.starts_anew for frame in frames]
    assert sum(anew) >= 2 and source.stats.gaps >= 2 and source.stats.last_error
    assert {frame.picture.shape[:2] for frame in frames} == {(64, 96), (96, 64)}
    assert (np.diff([frame.time_s for frame in frames]) > 0).all()


def test_a_list_that_is_not_there() -> None:
    def nothing(client: socket.socket, number: int) -> None:
        client.recv(4096)
        client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with Server(nothing) as server, pytest.raises(VideoError, match=r"cannot be opened: .*404"):
        video.open_live(f"http://127.0.0.1:{server.port}/live.m3u8")
