"""`fluxshard run` with planned reuse, for real: the canvas, calibrated profiles, and networks of one size."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import fluxshard
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.load import load
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile, network_digest, weights_digest
from fluxshard.video import VideoWriter
from tests.models.test_cli_run import PROPAGATED, SMALL, call, frames_in, lines_of, one_line


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    """A textured scene that a camera pans over by 4 px a frame, `12 x (96, 160)`."""
    path = tmp_path_factory.mktemp("film") / "pan.mp4"
    coarse = torch.from_numpy(np.random.default_rng(5).uniform(20, 235, (1, 3, 12, 30))).float()
    smooth = torch.nn.functional.interpolate(coarse, (96, 240), mode="bicubic").clamp(0, 255)
    scene = smooth[0].permute(1, 2, 0).byte().numpy()
    with VideoWriter(path, (96, 160), 25.0) as writer:
        for index in range(12):
            writer.write(np.ascontiguousarray(scene[:, 4 * index : 4 * index + 160]))
    return path


def a_net(*more):
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3, padding=1)]
    return torch.nn.Sequential(*layers, *more)


@pytest.fixture(scope="module")
def net_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(a_net(), path)
    return path


@pytest.fixture(scope="module")
def profile(net_file):
    """Found for the network on another size of the image."""
    with pytest.warns(UserWarning, match="runs Python code"):
        net = load(net_file).net
    options = fluxshard.CompileOptions(backend="reference", canvas_px=16)
    model = fluxshard.compile(net, torch.zeros(1, 3, 64, 64), options=options)
    planned = PlannedOptions(tau=0.07, tau_background=None, levels={2: LevelOptions(dilation=1)})
    return ThresholdProfile(
        reuse=ReuseOptions(policy="planned", planned=planned, scene_cut=0.7),
        canvas_px=16,
        network=network_digest(model.plan),
        weights=weights_digest(model.plan, model.weights),
    )


def summary_of(out):
    return json.loads((out / "summary.json").read_text())


def test_a_network_without_a_task_runs_on_a_canvas_that_follows_the_pan(pan, net_file, tmp_path, capsys):
    arguments = ("run", pan, "--model", net_file, "--size", "96x160", *SMALL, "--compare", "dense", "--show-reuse")
    code, text, error = call(capsys, *arguments, "--out", tmp_path / "a", "--canvas")
    assert code == 0 and error == ""
    assert "planned reuse, default thresholds, on a canvas of +32 px; approximate" in text
    summary, lines = summary_of(tmp_path / "a"), lines_of(tmp_path / "a")
    assert (summary["policy"], summary["profile"], summary["canvas_px"]) == ("planned", None, 32)
    assert summary["network_size"] == [96, 160] and summary["agreement"] is None
    assert len(lines) == frames_in(tmp_path / "a" / "annotated.mp4") == 12
    assert all(line["outputs"][0]["shape"] == [1, 4, 64, 96] for line in lines)  # half of 96 + 32 and of 160 + 32
    assert [line["origin"] for line in lines] == [[0, (4 * index) % 32] for index in range(12)]
    assert lines[0]["planned_work"] == 1.0 and all(line["max_difference"] is None for line in lines)
    for line in lines:  # the same work, counted against the canvas and against the image
        assert line["planned_work"] * (128 * 192) == pytest.approx(line["compute_ratio"] * (96 * 160))
    assert summary["planned_work"]["mean"] < 0.5  # what pans in is new, the rest stands still

    code, text, _ = call(capsys, *arguments, "--out", tmp_path / "b", "--max-frames", 3)
    assert code == 0 and "canvas" not in text
    summary, lines = summary_of(tmp_path / "b"), lines_of(tmp_path / "b")
    assert summary["canvas_px"] == 0 and summary["policy"] == "planned"
    assert lines[0]["max_difference"] < 1e-4 and lines[2]["outputs"][0]["shape"] == [1, 4, 48, 80]
    assert all(line["planned_work"] == pytest.approx(line["compute_ratio"]) for line in lines)


def test_a_profile_from_file_to_summary(pan, net_file, profile, tmp_path, capsys):
    profile.save(tmp_path / "street.json")
    arguments = (
        "run",
        pan,
        "--model",
        net_file,
        "--out",
        tmp_path / "o",
        "--size",
        "96x160",
        "--max-frames",
        4,
        *SMALL,
    )
    code, text, error = call(capsys, *arguments, "--profile", tmp_path / "street.json")
    assert code == 0 and error == ""
    assert "planned reuse, profile street.json, on a canvas of +16 px; approximate" in text and "0.07" in text
    summary = summary_of(tmp_path / "o")
    assert summary["profile"] == str(tmp_path / "street.json")
    assert summary["canvas_px"] == 16 and summary["policy"] == "planned"
    assert summary["reuse"]["scene_cut"] == 0.7 and summary["reuse"]["planned"]["levels"]["2"]["dilation"] == 1
    assert lines_of(tmp_path / "o")[3]["outputs"][0]["shape"] == [1, 4, 56, 88]

    propagated = replace(profile, reuse=ReuseOptions(tau_input=0.5, tau=0.5), canvas_px=0)
    propagated.save(tmp_path / "other.json")
    code, text, _ = call(capsys, *arguments, "--overwrite", "--profile", tmp_path / "other.json")
    assert code == 0 and "propagated reuse, profile other.json; approximate: pixels within 0.5" in text
    summary = summary_of(tmp_path / "o")
    assert summary["policy"] == "propagated" and summary["canvas_px"] == 0 and summary["planned_work"] is None


@pytest.mark.parametrize(
    ("broken", "code", "words"),
    [
        ("missing", 1, ("profile.json", "cannot be read")),
        ("damaged", 1, ("profile.json", "cannot be read")),
        ("network", 1, ("another network", "fluxshard calibrate")),
        ("weights", 1, ("other weights", "fluxshard calibrate")),
        ("clash", 2, ("--profile", "--policy, --tau-input")),
    ],
)
def test_profiles_that_do_not_fit_are_one_line(broken, code, words, pan, net_file, profile, tmp_path, capsys):
    path, out = tmp_path / "profile.json", tmp_path / "out"
    if broken in ("network", "weights"):
        profile = replace(profile, **{broken: "0" * 64})
    if broken != "missing":
        profile.save(path)
    if broken == "damaged":
        path.write_text(path.read_text()[:-40])
    flags = (*PROPAGATED, "--tau-input", 0) if broken == "clash" else ()
    arguments = ("run", pan, "--model", net_file, "--out", out, "--size", "96x160", *SMALL)
    status, _, error = call(capsys, *arguments, "--profile", path, *flags)
    assert status == code
    one_line(error, *words)
    assert not out.exists() or not list(out.iterdir())


def test_programs_of_one_size_run_without_a_canvas(pan, profile, tmp_path, capsys):
    model, out = tmp_path / "net.pt2", tmp_path / "out"
    torch.export.save(torch.export.export(a_net().eval(), (torch.zeros(1, 3, 64, 96),)), model)
    arguments = ("run", pan, "--model", model, "--max-frames", 3, "--out", out, *SMALL)
    profile.save(tmp_path / "p.json")
    for flags, word in ((("--canvas",), "--canvas needs"), (("--profile", tmp_path / "p.json"), "canvas of 16 px")):
        code, _, error = call(capsys, *arguments, *flags)
        assert code == 2 and list(out.iterdir()) == []
        one_line(error, word, "64x96")
    code, text, error = call(capsys, *arguments)
    assert code == 0 and error == "" and "planned reuse" in text and "canvas" not in text
    assert summary_of(out)["canvas_px"] == 0


def test_a_network_that_turns_out_to_have_one_size(pan, tmp_path, capsys):
    torch.save(a_net(torch.nn.Flatten(), torch.nn.Linear(4 * 48 * 80, 2)), tmp_path / "net.pt")
    arguments = ("run", pan, "--model", tmp_path / "net.pt", "--size", "96x160", "--max-frames", 3, *SMALL)
    code, text, error = call(capsys, *arguments, "--out", tmp_path / "a")
    assert code == 0 and error == "" and "canvas" not in text
    code, _, error = call(capsys, *arguments, "--out", tmp_path / "b", "--canvas")
    assert code == 1 and list((tmp_path / "b").iterdir()) == []
    one_line(error)


@pytest.mark.filterwarnings("ignore:.*runs Python code:UserWarning")
def test_detections_on_a_canvas_lie_where_they_lie_without(data_dir, tmp_path, capsys):
    """The camera turns by some 6 px a frame: an origin that is forgotten, or added twice, moves every box by that."""
    pytest.importorskip("ultralytics", reason="needs the ultralytics package")
    model, source = data_dir / "weights" / "yolo11n-seg.pt", data_dir / "davis/JPEGImages/480p/car-roundabout"
    if not (model.exists() and source.exists()):
        pytest.skip(f"no {model.name} or {source.name} in {data_dir}")
    out, loaded = tmp_path / "out", load(model)
    flags = ("--size", 256, "--max-frames", 3, "--compare", "dense", "--show-reuse", "--canvas", *SMALL)
    assert call(capsys, "run", source, "--model", model, "--out", out, *flags)[0] == 0
    lines, summary = lines_of(out), summary_of(out)
    shape = tuple(summary["network_size"])
    with fluxshard.video.open(source, size=shape) as frames:
        frame = next(iter(frames))
    with torch.inference_mode():  # as the first frame runs without a canvas: whole
        box = frame.letterbox
        found = decode(loaded.net(frame.image), loaded.layout, shape).to_picture(
            box.scale, box.offset, box.picture_size
        )
    assert len(lines[0]["detections"]) == len(found) > 1
    for line, expected, class_index in zip(lines[0]["detections"], found.boxes, found.classes, strict=True):
        assert line["class"] == class_index and sum(line["mask"]["counts"]) == np.prod(box.picture_size)
        assert np.abs(np.subtract(line["box"], expected)).max() < 1.5 / box.scale[0]
    origins = [line["origin"] for line in lines]
    assert origins[0] == [0, 0] and all(origin[1] >= 4 for origin in origins[1:])
    for line in lines:
        assert line["max_difference"] is None and line["agreement"]["f1"] > 0.7
        assert line["agreement"]["box_iou"] > 0.8 and line["agreement"]["mask_iou"] > 0.75
    assert summary["canvas_px"] == 32 and summary["compute_ratio"]["mean"] < 0.7
    assert summary["latency_ms"]["focus"]["median"] > 0
