"""Live sources over connections that break off, stall, end and come back otherwise."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fluxshard import video
from fluxshard.errors import OptionError, StreamLostError, VideoError
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning
from fluxshard.video.live.options import LiveOptions
from tests.unit.video.live.servers import (
    FRAMES,
    Server,
    http_headers,
    nothing_left,
    reset,
    send_on,
    transport_stream,
    wait_read,
    with_sound,
)

SIZE = (64, 96)
LONG = 300  # more than FFmpeg reads to find out what comes: that is 5 s of a stream
QUICK = {"first_delay_s": 0.01, "most_delay_s": 0.02, "timeout_s": 0.6}


def wait_until(what, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def until_paused(source: video.LiveSource) -> list[video.Frame]:
    """Takes the frames that have come before a pause."""
    frames = []
    deadline = time.monotonic() + 10
    while source.stats.state != "paused" or source._frames._waiting:
        assert time.monotonic() < deadline
        if source._frames._waiting:
            frames.append(next(source))
        time.sleep(0.002)
    return frames


def test_one_connection_is_as_the_file(tmp_path: Path) -> None:
    data = transport_stream(tmp_path)
    with Server(lambda client, number: client.sendall(data)) as server, nothing_left():
        with video.open_live(f"tcp://127.0.0.1:{server.port}", size=SIZE) as source:
            assert (source.size, source.picture_size, source.frame_count, source.keeps_newest) == (
                SIZE,
                SIZE,
                None,
                False,
            )
            frames = list(source)
        with video.open(tmp_path / f"64x96x{FRAMES}.ts", size=SIZE) as file:
            expected = list(file)
    assert [frame.index for frame in frames] == list(range(FRAMES)) == [frame.index for frame in expected]
    for frame, same in zip(frames, expected, strict=True):
        assert (frame.pixels == same.pixels).all() and frame.time_s == pytest.approx(same.time_s)
        assert (frame.motion_source, frame.starts_anew, frame.gap_s) == (same.motion_source, False, 0.0)
    assert (source.stats.state, source.stats.frames, source.stats.connections, source.stats.gaps) == (
        "ended",
        FRAMES,
        1,
        0,
    )
    assert server.connections == 1


@pytest.mark.parametrize("scheme", ["tcp", "http"])
def test_fifty_restarts(tmp_path: Path, scheme: str) -> None:
    """Connections that end, break off, give nothing at all, stall, or come back with pictures of another size."""
    sizes = [(64, 96), (96, 64)]
    clips = [transport_stream(tmp_path, size) for size in sizes]
    least = FRAMES - 1  # the last picture of what breaks off may be incomplete

    def serve(client: socket.socket, number: int) -> None:
        if number % 10 == 3:
            return reset(client)
        if number % 10 == 6:
            return None
        if scheme == "http":
            http_headers(client)
        client.sendall(clips[number // 5 % 2])
        if number % 25 == 9:
            time.sleep(1.5)  # longer than it is waited for
        wait_read(client)
        if number % 2:
            reset(client)
        return None

    told = []
    options = LiveOptions(reconnect="always" if scheme == "tcp" else "auto", **QUICK)
    with Server(serve) as server, nothing_left(64 << 20):
        url = f"{scheme}://127.0.0.1:{server.port}/live.ts"
        with video.open_live(url, size=(64, 64), live=options, changed=told.append) as source:
            frames = []
            while server.connections <= 50 or len(frames) < 40 * least:
                frames.append(next(source))
        stats = source.stats
    assert stats.state == "ended" and stats.connections >= 40 and stats.failures >= 8
    assert stats.gaps >= 39 and stats.longest_gap_s <= stats.gap_s and stats.last_error
    assert {one.state for one in told} == {"connecting", "open"}
    starts = [number for number, frame in enumerate(frames) if frame.starts_anew]
    assert len(starts) == stats.gaps or len(starts) == stats.gaps - 1  # the last may have come unseen
    for number in starts:
        assert frames[number].motion is None and frames[number].gap_s > 0
    assert {frame.picture.shape[:2] for frame in frames} == set(sizes)
    assert {frame.pixels.shape for frame in frames} == {(64, 64, 3)}
    assert (np.diff([frame.index for frame in frames]) == 1).all()
    assert (np.diff([frame.time_s for frame in frames]) > 0).all()


def _stalling(data: bytes, hang: threading.Event) -> Callable[[socket.socket, int], None]:
    """Sends a stream, and then nothing, until it may end."""

    def serve(client: socket.socket, number: int) -> None:
        client.sendall(data)
        hang.wait(10)

    return serve


def test_a_stream_that_stalls_is_opened_again(tmp_path: Path) -> None:
    data = transport_stream(tmp_path, count=LONG)
    hang = threading.Event()
    with Server(_stalling(data, hang)) as server, nothing_left():
        options = LiveOptions(**QUICK)
        with video.open_live(f"tcp://127.0.0.1:{server.port}", size=SIZE, live=options) as source:
            frames = [next(source) for _ in range(LONG + 10)]
        hang.set()
    (number,) = [index for index, frame in enumerate(frames) if frame.starts_anew]
    assert LONG - 2 <= number <= LONG and source.stats.gaps == 1
    assert "timed out: nothing came for 0.6 s" in (source.stats.last_error or "")
    # the last pictures of the first connection come when it times out: only then they are known to be whole
    assert frames[number].captured_s - frames[number - 5].captured_s >= 0.5
    assert frames[number].gap_s > 0 and frames[number].time_s - frames[number - 1].time_s >= 0.039


@pytest.mark.timeout(60)
def test_a_stream_whose_pictures_alone_stall_is_opened_again(tmp_path: Path) -> None:
    data, sound = with_sound(tmp_path, SIZE, LONG)
    hang = threading.Event()

    def serve(client: socket.socket, number: int) -> None:
        client.sendall(data)
        send_on(client, sound, hang)

    with Server(serve) as server, nothing_left():
        options = LiveOptions(**QUICK)
        with video.open_live(f"tcp://127.0.0.1:{server.port}", size=SIZE, live=options) as source:
            frames = [next(source) for _ in range(LONG + 10)]
        hang.set()
    (number,) = [index for index, frame in enumerate(frames) if frame.starts_anew]
    assert LONG - 2 <= number <= LONG and source.stats.gaps == 1
    assert "timed out: no picture came for 0.6 s" in (source.stats.last_error or "")


def test_damaged_frames_are_left_out_and_counted(tmp_path: Path) -> None:
    data = bytearray(transport_stream(tmp_path, count=30))
    for packet in (len(data) // 188 - 20, len(data) // 188 - 19):
        data[188 * packet + 30 : 188 * packet + 160] = b"\xa7" * 130
    with (
        Server(lambda client, number: client.sendall(bytes(data))) as server,
        video.open_live(f"tcp://127.0.0.1:{server.port}", size=SIZE) as source,
    ):
        frames = list(source)
    assert source.stats.damaged >= 1 and 25 <= len(frames) < 30 and source.stats.gaps == 0


def test_what_never_comes_back_is_an_error_where_it_is_to_be(tmp_path: Path) -> None:
    data = transport_stream(tmp_path)

    def serve(client: socket.socket, number: int) -> None:
        client.sendall(data)
        wait_read(client)
        reset(client)

    options = LiveOptions(reconnect="never", **QUICK)
    with Server(serve) as server, nothing_left():
        seen = []
        with (
            video.open_live(f"tcp://127.0.0.1:{server.port}", size=SIZE, live=options) as source,
            pytest.raises(StreamLostError, match=r"broke off: .*open it again"),
        ):
            seen.extend(source)
        assert source.stats.state == "ended"
    assert server.connections == 1


def test_it_must_be_there_at_first() -> None:
    with nothing_left(), pytest.raises(VideoError, match="cannot be opened: Connection refused"):
        video.open_live("tcp://127.0.0.1:1")


def test_whoever_is_slow_gets_the_newest_or_every_frame(tmp_path: Path) -> None:
    data = transport_stream(tmp_path, count=60)
    for frames, least, most in (("newest", 1, 30), ("every", 60, 60), ("auto", 60, 60)):
        options = LiveOptions(frames=frames, waiting=2)  # type: ignore[arg-type]
        with (
            Server(lambda client, number: client.sendall(data)) as server,
            video.open_live(f"tcp://127.0.0.1:{server.port}", size=SIZE, live=options) as source,
        ):
            seen = []
            for frame in source:
                seen.append(frame)
                if frames == "newest" or len(seen) == 1:
                    wait_until(lambda: source._frames._over or len(source._frames._waiting) >= 2)
                assert len(source._frames._waiting) <= 2
        assert least <= len(seen) <= most and seen[-1].index == 59
        assert source.stats.dropped == 60 - len(seen)


def test_pausing_closes_the_connection(tmp_path: Path) -> None:
    data = transport_stream(tmp_path, count=400)
    with Server(lambda client, number: client.sendall(data)) as server, nothing_left():
        url = f"tcp://127.0.0.1:{server.port}"
        with video.open_live(url, size=SIZE, live=LiveOptions(waiting=1, **QUICK)) as source:
            before = [next(source) for _ in range(3)]
            source.pause()
            rest = until_paused(source)
            assert server.connections == 1
            time.sleep(0.2)
            assert source.stats.state == "paused" and server.connections == 1
            source.resume()
            after = []
            while not after or not after[-1].starts_anew:
                after.append(next(source))
        assert server.connections == 2 and source.stats.gaps == 0 and after[-1].gap_s >= 0.2
    times = [frame.time_s for frame in (*before, *rest, *after)]
    assert (np.diff(times) > 0).all()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("during", ["frames", "delay", "pause", "stall", "sound"])
def test_it_stops_cleanly(tmp_path: Path, during: str) -> None:
    data, sound = (
        with_sound(tmp_path, SIZE, LONG) if during == "sound" else (transport_stream(tmp_path, count=LONG), b"")
    )
    hang = threading.Event()

    def serve(client: socket.socket, number: int) -> None:
        client.sendall(data)
        if during == "stall":
            hang.wait(10)
        if during == "sound":
            send_on(client, sound, hang)

    options = LiveOptions(reconnect="always", first_delay_s=30, timeout_s=1.0)
    with Server(serve) as server, nothing_left():
        source = video.open_live(f"tcp://127.0.0.1:{server.port}", size=SIZE, live=options)
        next(source)
        if during == "delay":
            wait_until(lambda: next(source) and source.stats.state == "connecting")
        if during == "pause":
            source.pause()
            until_paused(source)
        if during in ("stall", "sound"):
            for _ in range(LONG - 5):
                next(source)
            time.sleep(0.3)  # until it waits for what does not come
        start = time.monotonic()
        source.close()
        assert time.monotonic() - start < (2.5 if during in ("stall", "sound") else 0.5)
        assert list(source) == [] and source.stats.state == "ended"
        source.close()
        hang.set()


def test_whoever_waits_can_be_stopped(tmp_path: Path) -> None:
    data = transport_stream(tmp_path, count=LONG)
    hang, stop = threading.Event(), threading.Event()

    def serve(client: socket.socket, number: int) -> None:
        client.sendall(data)
        hang.wait(10)

    with Server(serve) as server, nothing_left():
        with video.open_live(
            f"tcp://127.0.0.1:{server.port}", size=SIZE, live=LiveOptions(timeout_s=2), stopped=stop.is_set
        ) as source:
            frames = [next(source) for _ in range(LONG - 2)]
            timer = threading.Timer(0.3, stop.set)
            timer.start()
            start = time.monotonic()
            assert len(frames) + len(list(source)) <= LONG
            assert 0.1 < time.monotonic() - start < 1.5
            timer.join()
        hang.set()


def test_the_wait_for_a_frame_can_be_ended(tmp_path: Path) -> None:
    data = transport_stream(tmp_path, count=LONG)
    hang = threading.Event()
    with Server(_stalling(data, hang)) as server, nothing_left():
        options = LiveOptions(timeout_s=2)
        with video.open_live(f"tcp://127.0.0.1:{server.port}", size=SIZE, live=options) as source:
            taken = [next(source) for _ in range(LONG - 2)]
            with ThreadPoolExecutor(1) as other:
                rest = other.submit(list, source)
                source.interrupt()
                assert len(taken) + len(rest.result(20)) <= LONG
            assert list(source) == [] and server.connections == 1
        hang.set()


def test_packets_are_numbered_over_all_connections(tmp_path: Path) -> None:
    data = transport_stream(tmp_path)
    with (
        Server(lambda client, number: client.sendall(data)) as server,
        video.open_live(
            f"tcp://127.0.0.1:{server.port}", size=SIZE, packets=True, live=LiveOptions(reconnect="always", **QUICK)
        ) as source,
    ):
        frames = [next(source) for _ in range(3 * FRAMES)]
    assert source.packet_stream is not None and not source.packet_stream.encoded_here
    numbers = [packet.number for frame in frames for packet in frame.packets]
    assert numbers == list(range(3 * FRAMES)) == [frame.packet_number for frame in frames]
    assert all(frame.packets[0].keyframe for frame in frames if frame.starts_anew)


@pytest.mark.timeout(60)
def test_a_rate_that_is_estimated_otherwise_makes_no_other_packets(tmp_path: Path) -> None:
    clips = [
        write_clip(tmp_path / f"{fps}.ts", panning(SIZE, (0, 4), FRAMES), fps=fps).read_bytes() for fps in (25, 30)
    ]
    clips.append(transport_stream(tmp_path, (96, 64)))

    def serve(client: socket.socket, number: int) -> None:
        client.sendall(clips[min(number, 2)])

    options = LiveOptions(reconnect="always", **QUICK)
    with (
        Server(serve) as server,
        video.open_live(f"tcp://127.0.0.1:{server.port}", size=SIZE, packets=True, live=options) as source,
    ):
        frames = [next(source) for _ in range(2 * FRAMES)]
        assert [frame.index for frame in frames if frame.starts_anew] == [FRAMES]
        wait_until(lambda: source.stats.failures >= 2)
        assert "packets of another kind or picture size" in (source.stats.last_error or "")


def test_so_many_frames(tmp_path: Path) -> None:
    data = transport_stream(tmp_path)
    options = LiveOptions(reconnect="always", **QUICK)
    with Server(lambda client, number: client.sendall(data)) as server, nothing_left():
        with video.open_live(f"tcp://127.0.0.1:{server.port}", live=options, max_frames=2 * FRAMES + 1) as source:
            assert len(list(source)) == 2 * FRAMES + 1
        with pytest.raises(VideoError, match="max_frames"):
            video.open_live(f"tcp://127.0.0.1:{server.port}", max_frames=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frames": "all"}, r"frames \(='all'\) must be one of 'auto', 'every', 'newest'"),
        ({"reconnect": True}, r"reconnect \(=True\) must be one of"),
        ({"transport": "x"}, r"transport \(='x'\) must be one of 'tcp', 'udp'"),
        ({"waiting": 0}, r"waiting \(=0\) must be a number of frames"),
        ({"timeout_s": 0}, r"timeout_s \(=0\) must be a finite number of seconds"),
        ({"most_delay_s": 0.1}, r"most_delay_s \(=0.1\) must not be below first_delay_s \(=0.5\)"),
    ],
)
def test_options(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LiveOptions(**values)  # type: ignore[arg-type]
