"""The command line without a compiled model: sizes, and users' mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import torch

from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.sizes import network_shape, parse_size
from fluxshard.testing.fake_session import YOLO_LIKE


def run_cli(*arguments, environment=None, timeout=60):
    return subprocess.run(
        [sys.executable, "-c", "from fluxshard.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})},
    )


# --- sizes


@pytest.mark.parametrize(
    ("size", "picture", "shape"),
    [
        (None, (720, 1280), (384, 640)),
        ("640", (720, 1280), (384, 640)),
        ("640", (1280, 720), (640, 384)),
        ("640", (500, 500), (640, 640)),
        ("640x640", (720, 1280), (640, 640)),
        ("320X640", (720, 1280), (320, 640)),
        ("600", (720, 1280), (352, 608)),
        ("64", (10, 4000), (32, 64)),
    ],
)
def test_network_shape(size, picture, shape):
    assert network_shape(size, picture, YOLO_LIKE) == shape


@pytest.mark.parametrize("size", ["", "x", "640x", "0", "-640", "640x640x3", "6.4", "9000", "1e3"])
def test_sizes_that_are_none(size):
    with pytest.raises(OptionError, match="--size"):
        parse_size(size)


def test_sizes_that_the_model_does_not_take():
    with pytest.raises(OptionError, match="multiples of the network's stride, 32 px"):
        network_shape("400x640", (720, 1280), YOLO_LIKE)
    exported = LoadedModel(torch.nn.Identity(), input_shape=(100, 200))
    assert network_shape(None, (720, 1280), exported) == (100, 200)
    with pytest.raises(OptionError, match="must be 100x200"):
        network_shape("640", (720, 1280), exported)


# --- users' mistakes


def one_line(done, code, *words):
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("fluxshard: error: "), done.stderr
    for word in words:
        assert word in done.stderr
    return done


@pytest.fixture(scope="module")
def net_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU()), path)
    return path


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["dance"], "dance"),
        (["run"], "video"),
        (["run", "v.mp4", "--out", "o"], "--model"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--rfap", "maybe"], "--rfap"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--max-frames", "0"], "--max-frames"),
        (
            ["run", "v.mp4", "--model", "m.pt", "--out", "o", "--policy", "propagated", "--tau-input", "-1"],
            "tau_input",
        ),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--policy", "guessed"], "--policy"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--tau", "0.1"], "--tau is for --policy propagated"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--policy", "propagated", "--canvas"], "--canvas"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--profile", "p", "--no-canvas"], "--no-canvas"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--size", "big"], "--size"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--conf", "7"], "--conf"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--device", "tpu"], "--device"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--dtype", "int8"], "--dtype"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--dtype", "float16"], "--device cuda"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--backend", "cuda"], "--device cuda"),
        (["run", "v.mp4", "--model", "m.pt", "--out", "o", "--backend", "fast"], "--backend"),
        (["explain", "--model", "m.pt", "--target", "cuda:sm_20"], "cuda:sm_90"),
        (["explain", "--model", "m.pt", "--target", "cuda"], "cuda:sm_90"),
        (["explain", "--model", "m.pt", "--dtype", "float16"], "--target"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments, word, capsys):
    from fluxshard.cli import main

    with pytest.raises(SystemExit) as caught:
        main(arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.count("\n") == 1 and word.lower() in error.lower()


@pytest.mark.parametrize("has_cuda", [False, True])
def test_a_machine_without_a_gpu_is_one_line_and_exit_1(has_cuda, tmp_path, net_file, capsys, monkeypatch):
    """Said before anything is opened: there is no film."""
    from fluxshard.cli import main

    monkeypatch.setattr(torch.version, "cuda", "13.0" if has_cuda else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as caught:
        main(["run", "no.mp4", "--model", str(net_file), "--out", str(tmp_path / "out"), "--device", "cuda:0"])
    error = capsys.readouterr().err
    assert caught.value.code == 1 and error.count("\n") == 1 and "emulated" in error
    assert ("nvidia-smi" if has_cuda else "built for the CPU") in error
    assert not (tmp_path / "out").exists()


def test_missing_files_are_one_line_and_exit_1(tmp_path, net_file, capsys):
    from fluxshard.cli import main

    (tmp_path / "noise.mp4").write_bytes(os.urandom(5000))
    (tmp_path / "weights.pt").write_bytes(os.urandom(5000))
    for video, model, word in (
        ("missing.mp4", net_file, "missing.mp4"),
        ("noise.mp4", net_file, "noise.mp4"),
        ("noise.mp4", tmp_path / "weights.pt", "not a PyTorch file"),
        ("noise.mp4", tmp_path / "no.pt", "does not exist"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["run", str(tmp_path / video), "--model", str(model), "--out", str(tmp_path / "out")])
        error = capsys.readouterr().err
        assert caught.value.code == 1
        assert error.count("\n") == 1 and word in error
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_help_and_version_do_not_wait_for_torch():
    code = "import sys; from fluxshard.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    for argument in ("--help", "--version"):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, argument],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        elapsed_s = time.perf_counter() - start
        assert done.stdout.rstrip().endswith("False")
        assert elapsed_s < 5  # a third of a second when alone


def test_debug_shows_the_trace(tmp_path):
    done = run_cli("run", tmp_path / "no.mp4", "--model", tmp_path / "no.pt", "--out", tmp_path / "out", "--debug")
    assert done.returncode == 1 and "Traceback" in done.stderr and "ModelError" in done.stderr


def test_no_arguments_show_the_help(capsys):
    from fluxshard.cli import main

    with pytest.raises(SystemExit) as caught:
        main([])
    captured = capsys.readouterr()
    assert caught.value.code == 2 and captured.err == "" and "explain" in captured.out
