"""The command line without a compiled model: settings, records, the run loop over stand-ins, and users' mistakes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from fluxshard.cli.files import write_results
from fluxshard.cli.records import FrameRecord, plain, run_lengths
from fluxshard.cli.settings import prepare_directory
from fluxshard.cli.summary import summarise, summary_table
from fluxshard.errors import FluxShardError, OptionError
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.sizes import network_shape, parse_size
from fluxshard.motion import MotionField
from fluxshard.testing.fake_session import YOLO_LIKE
from fluxshard.testing.fake_session import FakeSession as Stream
from fluxshard.testing.fake_session import detection as outputs
from tests.unit.cli.frame_loop import read_lines, run_loop


def run_cli(*arguments, environment=None, timeout=60):
    return subprocess.run(
        [sys.executable, "-c", "from fluxshard.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})},
    )


# --- settings


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


def test_output_directory(tmp_path):
    prepare_directory(tmp_path / "a" / "b", overwrite=False)
    prepare_directory(tmp_path / "a" / "b", overwrite=False)  # nothing was left behind
    mine, old = tmp_path / "a" / "b" / "notes.txt", tmp_path / "a" / "b" / "summary.json"
    mine.touch()
    old.touch()
    with pytest.raises(OptionError, match="not empty"):
        prepare_directory(tmp_path / "a" / "b", overwrite=False)
    prepare_directory(tmp_path / "a" / "b", overwrite=True)
    assert mine.exists() and not old.exists()
    with pytest.raises(OptionError, match="is a file"):
        prepare_directory(mine, overwrite=True)
    with pytest.raises(OptionError, match="cannot be written"):
        prepare_directory(mine / "below", overwrite=False)


# --- records


def test_run_lengths_are_cocos():
    rng = np.random.default_rng(0)
    for rows, columns in ((range(2, 5), range(1, 4)), (range(0, 7), range(0, 9)), (range(3, 3), range(2, 6))):
        window = rng.random((len(rows), len(columns))) > 0.4
        whole = np.zeros((7, 9), bool)
        whole[rows.start : rows.stop, columns.start : columns.stop] = window
        counts = run_lengths(rows, columns, window, (7, 9))
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        assert np.array_equal(flat.reshape(9, 7).T, whole)


def test_json_has_no_nan():
    text = json.dumps(plain({"a": float("nan"), "b": [np.float32(1.5), np.int64(2), np.inf]}), allow_nan=False)
    assert json.loads(text) == {"a": None, "b": [1.5, 2, None]}


# --- the loop


def test_every_frame_becomes_a_line_and_a_picture(tmp_path):
    stream, pictures = Stream(), []
    records = list(run_loop(tmp_path, stream, pictures=pictures, show_reuse=True))
    lines = read_lines(tmp_path)
    assert [line["frame"] for line in lines] == [record.frame for record in records] == [0, 1, 2, 3, 4]
    assert all(isinstance(motion, MotionField) for motion in stream.seen) and len(stream.seen) == 5
    assert lines[2]["detections"] == [{"class": 1, "name": "dog", "score": 0.9, "box": [44, 40, 84, 80]}]  # picture px
    assert lines[2]["compute_ratio"] == 0.2 and lines[2]["motion_source"] == "codec"
    assert lines[2]["agreement"] is None and lines[2]["dense_ms"] is None
    assert len(pictures) == 5 and pictures[0].shape == (128, 192, 3)
    assert (pictures[2][5, 5] != 60).any() and (pictures[2][5, 40] == 60).all()  # tinted where there was work


def test_dense_is_compared_and_takes_turns(tmp_path):
    order = []
    stream = Stream(drift=1.0)
    run = stream.run
    stream.run = lambda *a: (order.append("incremental"), run(*a))[1]

    def dense(image):
        order.append("dense")
        return outputs(32.0)

    records = list(run_loop(tmp_path, stream, n=14, dense=dense))
    assert order[:4] == ["incremental", "dense", "dense", "incremental"]
    ious = [record.agreement.box_iou for record in records]
    assert ious[0] == pytest.approx(1) and ious[5] == pytest.approx(15 / 25)
    assert records[3].max_difference == 3.0
    assert records[10].agreement.matched == 0  # a third of overlap is no match
    summary = summarise(records, {"model": "m", "video": "v"})
    counted = records[1:]
    matched = sum(record.agreement.matched for record in counted)
    assert summary["agreement"]["f1"] == pytest.approx(matched / len(counted))
    assert summary["agreement"]["max_difference"] == 13.0
    assert summary["speedup"] == pytest.approx(
        np.median([r.dense_ms for r in counted]) / np.median([r.incremental_ms for r in counted])
    )


def test_outputs_without_a_meaning_are_summarised(tmp_path):
    loaded = LoadedModel(torch.nn.Identity())
    records = list(run_loop(tmp_path, Stream(), loaded=loaded, dense=lambda image: outputs(32.0)))
    line = read_lines(tmp_path)[1]
    assert line["outputs"] == [{"shape": [1, 6, 20], "min": 0, "mean": pytest.approx(0.857, abs=0.01), "max": 32}]
    assert "detections" not in line and records[1].agreement is None and records[1].max_difference == 0


def test_figures_leave_out_the_first_frame(tmp_path):
    records = list(run_loop(tmp_path, Stream()))
    summary = summarise(records, {})
    assert summary["frames"] == 5 and summary["frames_counted"] == 4
    assert summary["compute_ratio"]["mean"] == pytest.approx(0.2)
    assert summary["recompute_ratio"]["max"] == pytest.approx(0.1)
    assert summary["keyframes_counted"] == 0 and summary["latency_ms"]["dense"] is None
    assert summary["motion_sources"] == {"codec": 4}


@pytest.mark.parametrize("n", [0, 1, 2, 30])
@pytest.mark.parametrize("dense", [False, True])
def test_results_of_runs_of_any_length(tmp_path, n, dense):
    records = list(run_loop(tmp_path, Stream(drift=0.1), n=n, dense=(lambda image: outputs(32.0)) if dense else None))
    summary = write_results(records, {"model": "m.pt", "video": "v.mp4", "out": str(tmp_path)}, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (tmp_path / "summary.png").read_bytes().startswith(b"\x89PNG")
    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(summary))
    assert "frames" in console.export_text()


def test_lines_before_an_error_are_on_disk(tmp_path):
    with pytest.raises(FluxShardError, match="stumbled"):
        list(run_loop(tmp_path, Stream(fail_at=3)))
    assert len(read_lines(tmp_path)) == 3


def test_a_line_is_on_disk_before_the_next_frame(tmp_path):
    for count, _ in enumerate(run_loop(tmp_path, Stream())):
        assert len(read_lines(tmp_path)) == count + 1


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


def test_signals_end_a_run_between_frames(tmp_path):
    from fluxshard.cli.stopping import Stopping

    before = signal.getsignal(signal.SIGTERM)
    with Stopping() as stopping:
        records = []
        for record in run_loop(tmp_path, Stream(), n=100):
            records.append(record)
            if len(records) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            if stopping.signal is not None:
                break
        assert stopping.exit_code == 143 and 4 <= len(records) <= 5
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_record_ratio_of_stats_without_it():
    record = FrameRecord(frame=0, time_s=None, stats={}, incremental_ms=1.0)
    assert record.ratio("compute_ratio") != record.ratio("compute_ratio")


def test_no_arguments_show_the_help(capsys):
    from fluxshard.cli import main

    with pytest.raises(SystemExit) as caught:
        main([])
    captured = capsys.readouterr()
    assert caught.value.code == 2 and captured.err == "" and "explain" in captured.out
