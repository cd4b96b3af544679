"""The programs of docs/recipes.md, taken from the page and run as they are."""

from __future__ import annotations

import ast
import functools
import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

pytestmark = pytest.mark.timeout(1200)  # the first to come compiles the network, which takes long on busy processors
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
FRAMES = 5

# YOLO.track asks torchvision for its suppression, and a torchvision whose operators were built for another torch cannot
# be imported; Ultralytics' own in plain torch stands in for it.
TORCHVISION = """
import sys, types
from ultralytics.utils.nms import TorchNMS
torchvision = types.ModuleType("torchvision")
torchvision.__version__ = "0"
torchvision.ops = types.ModuleType("torchvision.ops")
torchvision.ops.nms = TorchNMS.nms
sys.modules.update({"torchvision": torchvision, "torchvision.ops": torchvision.ops})
"""
CAMERA = """
import cv2
opened = cv2.VideoCapture
cv2.VideoCapture = lambda number: opened(["walk.mp4"][number])
"""


def recipes(heading: str) -> list[str]:
    """The programs below a heading of the page."""
    part = re.split(rf"^## {re.escape(heading)}$", PAGE, flags=re.MULTILINE)[1]
    part = re.split(r"^## ", part, flags=re.MULTILINE)[0]
    found = re.findall(r"^```python\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found


@pytest.fixture
def place(tmp_path: Path, data_dir: Path) -> Path:
    """A directory with the files that recipes name."""
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed: pip install 'fluxshard[yolo]'")
    weights, clip = data_dir / "weights" / "yolo11n.pt", data_dir / "videos" / "sam2_juggle_720p24.mp4"
    for path in (weights, clip):
        if not path.is_file():
            pytest.skip(f"no {path}")
    (tmp_path / "yolo11n.pt").symlink_to(weights)
    cut(clip, tmp_path / "walk.mp4", FRAMES)
    return tmp_path


def cut(source: Path, path: Path, count: int) -> None:
    """Copies the first packets of a video."""
    with av.open(str(source)) as given, av.open(str(path), "w") as taken:
        stream = given.streams.video[0]
        copied = taken.add_stream_from_template(stream)
        for index, packet in enumerate(given.demux(stream)):
            if index == count or packet.dts is None:
                break
            packet.stream = copied
            taken.mux(packet)


def needs(*modules: str) -> None:
    for name in modules:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install 'fluxshard[track]'")


def run(code: str, place: Path, **environment: str) -> str:
    """What a program prints."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    there = os.environ | {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"} | environment
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=580, env=there
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_program_of_the_page_is_run_here() -> None:
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted(
        ["supervision", "Ultralytics' track", "OpenCV camera", "RTSP", "A saved model on another machine", "Notebook"]
    )
    assert sum(len(recipes(heading)) for heading in headings) == PAGE.count("```python")


def test_supervision(place: Path) -> None:
    needs("supervision", "trackers")
    (code,) = recipes("supervision")
    lines = run(code, place).splitlines()
    assert len(lines) == FRAMES and int(lines[-1].split()[-1]) >= 1
    with av.open(str(place / "walk-boxes.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == FRAMES


def test_ultralytics_track(place: Path) -> None:
    needs("lap")
    (code,) = recipes("Ultralytics' track")
    lines = run(TORCHVISION + code, place).splitlines()
    found = [line for line in lines if line.startswith("tensor(")]
    assert len(found) == FRAMES and all(line.startswith("tensor([1.") for line in found)  # fainter ones come and go


def test_opencv_camera(place: Path) -> None:
    needs("cv2")
    camera, flow = recipes("OpenCV camera")
    lines = run(CAMERA + camera, place).splitlines()
    assert sum(line.startswith("person ") for line in lines) >= FRAMES
    assert run(flow, place).count("% computed") == FRAMES


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *given: object) -> None:
        pass


@pytest.fixture
def address(place: Path) -> Iterator[str]:
    """A server that gives the clip as a stream that cannot be sought in."""
    with av.open(str(place / "walk.mp4")) as given, av.open(str(place / "live.ts"), "w") as taken:
        stream = given.streams.video[0]
        copied = taken.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                taken.mux(packet)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(place)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/live.ts"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_rtsp(place: Path, address: str) -> None:
    (code,) = recipes("RTSP")
    lines = run(_ends(code.replace("rtsp://camera.local/stream", address), 3), place).splitlines()
    assert len(lines) == 3 and all(re.match(r"\d\.\d\d s: Detections\(1 person", line) for line in lines)


def test_rtsp_of_a_server_of_its_own(place: Path, tmp_path: Path) -> None:
    python = shutil.which("python3", path="/usr/bin")
    serves = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if python is None or subprocess.run([python, "-c", serves], capture_output=True).returncode:
        pytest.skip("no RTSP server: apt install gir1.2-gst-rtsp-server-1.0 python3-gi and GStreamer's plugins")
    launch = f"( filesrc location={place / 'walk.mp4'} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 )"
    server = textwrap.dedent(f"""
        import gi
        gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
        from gi.repository import GLib, Gst, GstRtspServer
        Gst.init(None)
        server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
        server.set_address("127.0.0.1"); server.set_service("0")
        factory.set_launch({launch!r})
        server.get_mount_points().add_factory("/stream", factory)
        server.attach(None)
        print(server.get_bound_port(), flush=True)
        GLib.MainLoop().run()
    """)
    with subprocess.Popen([python, "-c", server], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = f"rtsp://127.0.0.1:{process.stdout.readline().strip()}/stream"
            (code,) = recipes("RTSP")
            lines = run(_ends(code.replace("rtsp://camera.local/stream", address), 2), place).splitlines()
        finally:
            process.terminate()
    assert len(lines) == 2 and all("person" in line for line in lines)


def _ends(code: str, count: int) -> str:
    """A program over a live stream, which ends after so many frames."""
    return (
        "import functools, fluxshard.video\n"
        f"fluxshard.video.open = functools.partial(fluxshard.video.open, max_frames={count})\n" + code
    )


@pytest.mark.requires_compiler
def test_a_saved_model_on_another_machine(place: Path, tmp_path: Path) -> None:
    here, there = recipes("A saved model on another machine")
    assert "SavedModel(cpp in float32, sizes 384x640, " in run(here, place)
    (place / "yolo11n.pt").unlink()
    without = "import sys\nsys.modules.update(ultralytics=None)\n"
    caches = {"FLUXSHARD_CACHE_DIR": str(tmp_path / "empty"), "FLUXSHARD_NO_COMPILE": "1", "CXX": "/bin/false"}
    lines = run(without + there, place, **caches).splitlines()
    assert len(lines) == FRAMES and all("person" in line for line in lines)


def test_notebook(place: Path) -> None:
    cells = recipes("Notebook")
    shown = run("".join(map(_as_a_notebook_shows_it, cells)), place)
    tables = re.findall(r"<table>.*?</table>", shown)
    assert len(tables) == 2 and "<td>conv2d</td>" in tables[0] and "<th>compute_ratio</th>" in tables[1]
    assert re.search(r"^Detections\(.*person", shown, re.MULTILINE)


def _as_a_notebook_shows_it(cell: str) -> str:
    """A cell that prints its last expression: as a table where it has one."""
    parts = ast.parse(cell).body
    last = parts[-1]
    if not isinstance(last, ast.Expr) or (isinstance(last.value, ast.Call) and "setLevel" in ast.unparse(last)):
        return cell
    shown = f"shown = {ast.unparse(last)}\nprint(getattr(shown, '_repr_html_', shown.__repr__)())\n"
    return "\n".join(map(ast.unparse, parts[:-1])) + "\n" + shown
