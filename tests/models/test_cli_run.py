"""`fluxshard run` and `explain` for real: films in, results out, and what is left when something goes wrong."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
import torch
from PIL import Image

from fluxshard.cli import main
from fluxshard.cli.run.output_directory import OUTPUTS
from fluxshard.video import VideoWriter

SMALL = ("--backend", "reference")
PROPAGATED = ("--policy", "propagated")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A textured scene that a camera pans over, `400 x (96, 160)`."""
    path = tmp_path_factory.mktemp("film") / "pan.mp4"
    rng = np.random.default_rng(3)
    coarse = torch.from_numpy(rng.uniform(20, 235, (1, 3, 12, 50))).float()
    smooth = torch.nn.functional.interpolate(coarse, (96, 400), mode="bicubic").clamp(0, 255)
    scene = smooth[0].permute(1, 2, 0).byte().numpy()
    with VideoWriter(path, (96, 160), 25.0) as writer:
        for index in range(400):
            x = 4 * (60 - abs(60 - index % 120))
            writer.write(np.ascontiguousarray(scene[:, x : x + 160]))
    return path


@pytest.fixture(scope="module")
def net_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    layers = [torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3, padding=1)]
    torch.save(torch.nn.Sequential(*layers), path)
    return path


def call(capsys, *arguments):
    """Exit status, standard output and error of a command, in this process."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


def start(*arguments, **options):
    """A command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-c", "from fluxshard.cli import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def lines_of(out):
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


def frames_in(path):
    """Frames that decode; the last packet of a film that was cut off may be half there."""
    count = 0
    with av.open(str(path)) as container, contextlib.suppress(av.InvalidDataError):
        for _ in container.decode(video=0):
            count += 1
    return count


def wait_for_lines(process, out, count):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = out / "frames.jsonl"
        if path.exists() and path.read_text().count("\n") >= count:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    raise AssertionError("no frames within a minute")


def one_line(error, *words):
    assert error.count("\n") == 1 and error.startswith("fluxshard: error: "), error
    for word in words:
        assert word in error


def test_a_network_without_a_task(film, net_file, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("run", film, "--model", net_file, "--out", out, "--size", "96x160", "--compare", "dense")
    arguments = (*arguments, *SMALL, *PROPAGATED)
    code, text, error = call(capsys, *arguments, "--max-frames", 8, "--show-reuse")
    assert code == 0 and error == ""
    assert "runs Python code" in text and "approximate" in text and "compute ratio" in text
    assert sorted(path.name for path in out.iterdir()) == sorted(OUTPUTS)
    lines = lines_of(out)
    assert [line["frame"] for line in lines] == list(range(8)) and frames_in(out / "annotated.mp4") == 8
    assert all(line["outputs"][0]["shape"] == [1, 4, 48, 80] for line in lines)
    assert lines[0]["keyframe"] and lines[0]["max_difference"] < 1e-4
    summary = json.loads((out / "summary.json").read_text())
    assert summary["complete"] and summary["frames"] == 8 and summary["backend"] == "reference"
    assert summary["compute_ratio"]["mean"] < 0.9  # a pan is what motion explains
    assert summary["state_bytes"] > 0

    code, _, error = call(capsys, *arguments)
    assert code == 2
    one_line(error, "is not empty", "--overwrite")
    code, _, _ = call(capsys, *arguments, "--max-frames", 2, "--overwrite")
    assert code == 0 and len(lines_of(out)) == 2


def test_a_run_without_a_film(film, net_file, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("run", film, "--model", net_file, "--out", out, "--size", "96x160", "--max-frames", 6, *SMALL)
    code, text, error = call(capsys, *arguments, "--no-film")
    assert code == 0 and error == "" and "frames/s" in text
    assert sorted(path.name for path in out.iterdir()) == sorted(set(OUTPUTS) - {"annotated.mp4"})
    summary = json.loads((out / "summary.json").read_text())
    assert len(lines_of(out)) == summary["frames"] == 6
    assert summary["throughput_fps"] == pytest.approx(6 / summary["wall_s"])
    code, _, _ = call(capsys, *arguments, "--overwrite")
    assert code == 0 and frames_in(out / "annotated.mp4") == 6


def test_exact_settings_equal_the_dense_network(film, net_file, tmp_path, capsys):
    flags = (*PROPAGATED, "--tau-input", 0, "--tau", 0, "--rfap", "per_layer", "--input", "fresh")
    arguments = ("run", film, "--model", net_file, "--out", tmp_path / "o", "--size", 160, "--compare", "dense", *SMALL)
    code, text, _ = call(capsys, *arguments, *flags, "--max-frames", 6)
    assert code == 0 and "exact" in text and "approximate" not in text
    assert json.loads((tmp_path / "o" / "summary.json").read_text())["agreement"]["max_difference"] < 1e-4


def test_an_exported_program(film, net_file, tmp_path, capsys):
    """It has one size, which is taken, and needs no warning: nothing of it is code."""
    net = torch.load(net_file, weights_only=False).eval()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 64, 96),)), tmp_path / "net.pt2")
    arguments = ("run", film, "--model", tmp_path / "net.pt2", "--compare", "dense", "--max-frames", 3, *SMALL)
    code, text, error = call(capsys, *arguments, "--out", tmp_path / "out")
    assert code == 0 and error == "" and "runs Python code" not in text
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["network_size"] == [64, 96] and summary["agreement"]["max_difference"] < 1
    code, _, error = call(capsys, *arguments, "--out", tmp_path / "other", "--size", "640")
    assert code == 2
    one_line(error, "must be 64x96")


@pytest.mark.parametrize(
    ("weights", "film_name", "key", "backend"),
    [  # one of them compiled, which takes long; that the backends agree is tested elsewhere
        ("yolo11n-pose", "videos/openpose_street_720p50.avi", "oks", "auto"),
        ("yolo11n-seg", "videos/carnd_solidWhiteRight_540p25.mp4", "mask_iou", "reference"),
        ("yolo11n", "davis/JPEGImages/480p/car-roundabout", "box_iou", "reference"),
    ],
)
def test_detectors_on_real_films(weights, film_name, key, backend, data_dir, tmp_path, capsys):
    pytest.importorskip("ultralytics", reason="needs the ultralytics package")
    model, source = data_dir / "weights" / f"{weights}.pt", data_dir / film_name
    if not (model.exists() and source.exists()):
        pytest.skip(f"no {model.name} or {source.name} in {data_dir}")
    out = tmp_path / "out"
    arguments = ("run", source, "--model", model, "--out", out, "--size", 320, "--compare", "dense", "--show-reuse")
    code, text, error = call(capsys, *arguments, "--max-frames", 5, "--backend", backend, *PROPAGATED)
    assert code == 0 and error == "", error
    summary = json.loads((out / "summary.json").read_text())
    assert summary["network_size"] == [192, 320]
    assert summary["agreement"]["f1"] > 0.85 and summary["agreement"][key] > 0.85
    lines = lines_of(out)
    assert sum(len(line["detections"]) for line in lines) >= 5
    first = lines[0]
    assert first["agreement"]["f1"] == 1.0 and first["max_difference"] < 0.05  # pixels of boxes, mostly
    height, width = first["detections"][0].get("mask", {"size": (10**4, 10**4)})["size"]
    for found in first["detections"]:
        x1, y1, x2, y2 = found["box"]
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        assert 0.25 < found["score"] <= 1
        if weights == "yolo11n-seg":
            assert sum(found["mask"]["counts"]) == height * width
        if weights == "yolo11n-pose":
            assert len(found["keypoints"]) == 17
    assert "F1" in text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_runs_keep_and_summarise_what_ran(number, code, film, net_file, tmp_path):
    out = tmp_path / "out"
    process = start("run", film, "--model", net_file, "--out", out, *SMALL)
    wait_for_lines(process, out, 4)
    process.send_signal(number)
    text, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert "stopped after" in error and "Traceback" not in error and "compute ratio" in text
    lines = lines_of(out)
    summary = json.loads((out / "summary.json").read_text())
    assert 4 <= summary["frames"] == len(lines) == frames_in(out / "annotated.mp4") < 400
    assert not summary["complete"] and (out / "summary.png").stat().st_size > 1000


def test_killed_runs_leave_readable_files(film, net_file, tmp_path):
    out = tmp_path / "out"
    process = start("run", film, "--model", net_file, "--out", out, *SMALL)
    wait_for_lines(process, out, 10)
    process.kill()
    process.communicate(timeout=60)
    text = (out / "frames.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert text.endswith("\n") and len(lines) >= 10
    assert frames_in(out / "annotated.mp4") >= len(lines) - 2  # one may be on its way, one is held by the container


def test_full_disk(film, net_file, tmp_path):
    """A limit on the size of files stands in for the disk; the same system calls fail."""
    out = tmp_path / "out"
    limit = 30_000
    process = start(
        *("run", film, "--model", net_file, "--out", out, *SMALL),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    one_line(error, "too large")
    text = (out / "frames.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()[: text.count("\n")]]
    assert 0 < len(lines) < 400
    assert frames_in(out / "annotated.mp4") >= len(lines) - 2
    summary = json.loads((out / "summary.json").read_text())
    assert not summary["complete"] and 0 < summary["frames"] <= len(lines)


def test_a_source_that_breaks_off(net_file, tmp_path, capsys):
    """The frames before the damage are there, with a summary; the error is one line."""
    source, out = tmp_path / "pictures", tmp_path / "out"
    source.mkdir()
    for index in range(6):
        Image.new("RGB", (64, 48), (40 * index, 90, 120)).save(source / f"{index}.png")
    (source / "4.png").write_bytes(os.urandom(300))
    code, _, error = call(capsys, "run", source, "--model", net_file, "--out", out, "--size", "64x64", *SMALL)
    assert code == 1
    one_line(error, "4.png")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames"] == len(lines_of(out)) == frames_in(out / "annotated.mp4") == 4
    assert not summary["complete"]


def test_directories_that_cannot_be_written(film, net_file, tmp_path, capsys):
    for out in ("/proc/nowhere", "/dev/null", film):
        code, _, error = call(capsys, "run", film, "--model", net_file, "--out", out, *SMALL)
        assert code == 2
        one_line(error, "--out", str(out))


def test_a_run_that_never_began_leaves_the_directory_empty(film, tmp_path, capsys):
    """A model that takes no such picture."""
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(5, 4, 3)), tmp_path / "five.pt")
    out = tmp_path / "out"
    code, _, error = call(capsys, "run", film, "--model", tmp_path / "five.pt", "--out", out, *SMALL)
    assert code == 1
    one_line(error)
    assert list(out.iterdir()) == []


def test_without_a_compiler(film, net_file, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {"PATH": str(empty), "CXX": "", "FLUXSHARD_CACHE_DIR": str(tmp_path / "cache")}
    arguments = ("run", film, "--model", net_file, "--max-frames", 2)
    process = start(*arguments, "--out", tmp_path / "a", "--backend", "cpp", env=environment)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    one_line(error, "compiler")
    process = start(*arguments, "--out", tmp_path / "b", env=environment)
    text, error = process.communicate(timeout=120)
    assert process.returncode == 0 and error == "" and "note: " in text and "reference" in text


@pytest.mark.requires_compiler
def test_with_compilation_forbidden(film, net_file, tmp_path):
    environment = {"FLUXSHARD_NO_COMPILE": "1", "FLUXSHARD_CACHE_DIR": str(tmp_path / "cache")}
    process = start("run", film, "--model", net_file, "--out", tmp_path / "out", "--backend", "cpp", env=environment)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    one_line(error, "FLUXSHARD_NO_COMPILE")


def test_explain(net_file, capsys):
    code, text, error = call(capsys, "explain", "--model", net_file, "--size", 64, "--verbose", *SMALL)
    assert code == 0 and "runs Python code" in error
    assert "sparse" in text and "1x8x32x32" in text.replace(" ", "")


def test_explain_an_architecture(net_file, capsys):
    from fluxshard.codegen.cuda.compile.nvrtc import Nvrtc
    from fluxshard.errors import ToolchainError

    try:
        known = Nvrtc().arches
    except ToolchainError as error:
        pytest.skip(str(error))
    code, text, error = call(
        capsys, "explain", "--model", net_file, "--size", 64, "--target", "cuda:sm_80", "--dtype", "float16"
    )
    assert code == 0 and error.count("\n") == 1 and "runs Python code" in error
    assert "registers" in text and "fs_gemm_" in text and "for sm_80, float16 (m16n8k16): " in text
    if 72 not in known:
        code, _, error = call(capsys, "explain", "--model", net_file, "--size", 64, "--target", "cuda:sm_72")
        assert code == 1
        one_line(error.partition("\n")[2], "sm_72 needs NVRTC 12.9 or older")


@pytest.mark.parametrize(
    ("missing", "word"), [("bindings", "fluxshard[cuda]"), ("libnvrtc", "libnvrtc cannot be loaded")]
)
def test_explain_an_architecture_without_nvrtc(missing, word, net_file, capsys, monkeypatch):
    from fluxshard.codegen.cuda import bindings
    from fluxshard.codegen.cuda.compile import nvrtc

    def no_module(name):
        raise ImportError(f"No module named {name!r}")

    class NoLibrary:
        def nvrtcVersion(self):
            raise RuntimeError("Failure finding libnvrtc.so:\nno such file")

    if missing == "bindings":
        monkeypatch.setattr(bindings, "import_module", no_module)
    else:
        monkeypatch.setattr(nvrtc, "bindings", lambda name: NoLibrary())
    code, _, error = call(capsys, "explain", "--model", net_file, "--size", 64, "--target", "cuda:sm_90")
    assert code == 1
    one_line(error.partition("\n")[2], word)
