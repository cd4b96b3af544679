"""`fluxshard run` over streams, several sources, damage, and films whose times and pixels are not even."""

from __future__ import annotations

import json
import signal
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from fluxshard.cli import main
from fluxshard.testing import panning, write_clip
from tests.models.test_cli_run import call, lines_of, one_line, start, wait_for_lines
from tests.unit.video.live.servers import FRAMES, Server, nothing_left, reset, transport_stream, wait_read

SMALL = ("--backend", "reference", "--size", "64x96")


@pytest.fixture(scope="module")
def net_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    layers = [torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3, padding=1)]
    torch.save(torch.nn.Sequential(*layers), path)
    return path


def summary_of(out):
    return json.loads((out / "summary.json").read_text())


def film_times(path):
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def without_packet(path, number):
    """Overwrites a packet with what no decoder can read."""
    with av.open(str(path)) as container:
        position, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][number]
    data = bytearray(path.read_bytes())
    data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    return path


def test_a_stream_that_breaks_off_goes_on_with_a_keyframe(net_file, tmp_path, capsys):
    clips = [transport_stream(tmp_path, size) for size in ((64, 96), (96, 64))]

    def serve(client, number):
        if number:  # the first is a look at the size
            client.sendall(clips[number // 2 % 2])
            wait_read(client)
            reset(client)
        else:
            client.sendall(clips[0])

    out = tmp_path / "out"
    with Server(serve) as server:
        code, said, _ = call(
            capsys, "run", f"tcp://127.0.0.1:{server.port}", "-m", net_file, "--out", out, "--max-frames", 40, *SMALL
        )
    assert code == 0
    lines, live = lines_of(out), summary_of(out)["live"]
    gaps = [number for number, line in enumerate(lines) if line.get("gap_s")]
    assert len(lines) == 40 and live["frames"] == 40 and len(gaps) >= 3 and live["gaps"] >= len(gaps)
    for number, line in enumerate(lines):
        assert line["keyframe"] == (number == 0 or number in gaps)
    assert "broke off" in said and "tried again until it is there" in said and "gaps of" in said
    times = film_times(out / "annotated.mp4")
    assert np.allclose(times, [line["time_s"] for line in lines], atol=1e-3)


@pytest.mark.parametrize("flag", ["--no-reconnect", None])
def test_a_stream_that_ends_is_over(flag, net_file, tmp_path, capsys):
    data, out = transport_stream(tmp_path), tmp_path / "out"
    with Server(lambda client, number: client.sendall(data)) as server:
        flags = SMALL if flag is None else (*SMALL, flag)
        code, _, _ = call(capsys, "run", f"tcp://127.0.0.1:{server.port}", "-m", net_file, "--out", out, *flags)
    assert code == 0 and len(lines_of(out)) == FRAMES and server.connections == 2


def test_interrupted_while_nothing_comes(net_file, tmp_path):
    data, out, hang = transport_stream(tmp_path, count=300), tmp_path / "out", threading.Event()

    def serve(client, number):
        client.sendall(data)
        hang.wait(60)

    with Server(serve) as server:
        command = ("run", f"tcp://127.0.0.1:{server.port}", "-m", net_file, "--out", out, "--timeout", 3, *SMALL)
        with start(*command) as process:
            wait_for_lines(process, out, 280)
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(30)
            assert time.monotonic() - asked < 15
        hang.set()
    assert process.returncode == 130
    assert not summary_of(out)["complete"] and len(lines_of(out)) >= 280


def test_several_sources_at_once(net_file, tmp_path, capsys):
    """A film, a stream and a directory of another size; one of them fails, and the others go on."""
    film = write_clip(tmp_path / "street one.mp4", panning((64, 96), (0, 2), 20))
    without_packet(write_clip(tmp_path / "broken.mp4", panning((64, 96), (0, 2), 20)), 7)
    data, out = transport_stream(tmp_path), tmp_path / "out"
    call(capsys, "run", film, "-m", net_file, "--out", tmp_path / "alone", *SMALL)  # fonts of figures stay open
    with Server(lambda client, number: client.sendall(data)) as server, nothing_left():
        code, said, error = call(
            capsys, "run", film, f"tcp://user:secret@127.0.0.1:{server.port}", tmp_path / "broken.mp4",
            "-m", net_file, "--out", out, *SMALL,
        )  # fmt: skip
    assert code == 1, error
    assert sorted(path.name for path in out.iterdir()) == ["1-street_one", "2-127.0.0.1", "3-broken"]
    counts = [len(lines_of(out / name)) for name in ("1-street_one", "2-127.0.0.1", "3-broken")]
    assert counts == [20, FRAMES, 7]
    assert [summary_of(path)["complete"] for path in sorted(out.iterdir())] == [True, True, False]
    plans = {summary_of(path)["plan"] for path in out.iterdir()}
    assert len(plans) == 1
    said = " ".join(said.split())
    assert "3-broken: error: video" in said and "is damaged at frame 7" in said and "--skip-damaged" in said
    assert "strict=False" not in said + error


def test_several_sources_are_stopped_together(net_file, tmp_path):
    data, out, hang = transport_stream(tmp_path, count=300), tmp_path / "out", threading.Event()

    def serve(client, number):
        client.sendall(data)
        hang.wait(60)

    with Server(serve) as server:
        url = f"tcp://127.0.0.1:{server.port}"
        with start("run", url, url, "-m", net_file, "--out", out, "--timeout", 3, *SMALL) as process:
            for name in ("1-127.0.0.1", "2-127.0.0.1"):
                wait_for_lines(process, out / name, 200)
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        hang.set()
    assert process.returncode == 143
    for path in out.iterdir():
        assert not summary_of(path)["complete"] and len(lines_of(path)) >= 200


def test_comparing_is_for_one_video(net_file, tmp_path, capsys):
    code, _, error = call(
        capsys, "run", "a.mp4", "b.mp4", "-m", net_file, "--out", tmp_path / "out", "--compare", "dense", *SMALL
    )
    assert code == 2
    one_line(error, "--compare dense", "one video at a time")


def test_damage_in_a_file(net_file, tmp_path, capsys):
    path = without_packet(write_clip(tmp_path / "a.mp4", panning((64, 96), (0, 2), 12)), 6)
    code, _, error = call(capsys, "run", path, "-m", net_file, "--out", tmp_path / "strict", *SMALL)
    assert code == 1 and len(lines_of(tmp_path / "strict")) == 6
    one_line(error, "is damaged at frame 6", "--skip-damaged leaves out what is damaged")
    code, said, _ = call(capsys, "run", path, "-m", net_file, "--out", tmp_path / "out", "--skip-damaged", *SMALL)
    assert code == 0 and len(lines_of(tmp_path / "out")) == 11
    assert "1 damaged frame was left out" in said and summary_of(tmp_path / "out")["damaged"] == 1


def test_the_film_keeps_times_and_aspect(net_file, tmp_path, capsys):
    stamps, path = [0, 1, 2, 10, 11, 40], tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        codec = stream.codec_context
        codec.height, codec.width, codec.pix_fmt = 64, 48, "yuv420p"
        codec.sample_aspect_ratio = Fraction(2)
        for stamp, picture in zip(stamps, panning((64, 48), (0, 1), len(stamps)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    out = tmp_path / "out"
    code, _, _ = call(capsys, "run", path, "-m", net_file, "--out", out, "--backend", "reference", "--size", "96")
    assert code == 0 and summary_of(out)["network_size"] == [64, 96]
    times = film_times(out / "annotated.mp4")
    assert np.allclose(np.array(times) - times[0], np.array(stamps) / 25, atol=2e-3)
    with av.open(str(out / "annotated.mp4")) as container:
        stream = container.streams.video[0]
        shown = stream.width / stream.height * stream.sample_aspect_ratio
    assert float(shown) == pytest.approx(96 / 64, abs=0.05)


def test_flags_are_checked(net_file, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["run", "a.mp4", "-m", str(net_file), "--out", str(tmp_path / "o"), "--timeout", "0"])
    assert caught.value.code == 2
    one_line(capsys.readouterr().err, "timeout_s (=0.0) must be")
