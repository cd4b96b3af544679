"""`fluxshard run --task` for networks of any library: films, records and summaries of every task."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fluxshard.cli import main
from fluxshard.testing import panning, write_clip

SIZE = (64, 96)
SMALL = ("--backend", "reference", "--size", "64x96")


class Maps(nn.Module):
    """Brightness of the image at stride 4: as a map, as classes dark and bright, and as a vector of both."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Conv2d(3, 1, 4, 4)
        nn.init.constant_(self.mean.weight, 1 / 48)
        assert self.mean.bias is not None
        nn.init.constant_(self.mean.bias, 0.1)

    def forward(self, x):
        depth = self.mean(x)
        logits = torch.cat([0.6 - depth, depth - 0.6], 1)
        return {"logits": logits, "depth": depth, "scores": logits.mean((2, 3))}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("film") / "pan.mp4", panning(SIZE, (0, 4), 5))


@pytest.fixture(scope="module")
def net_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "maps.pt"
    torch.save(Maps().eval(), path)
    return path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    return said.out


def lines_of(out):
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("task", "key", "measures"),
    [
        ("semantic", "map", {"same", "miou"}),
        ("classify", "ranking", {"top1", "top5", "probability_error"}),
        ("depth", "values", {"relative_error", "depth_error", "delta1"}),
        ("raw", "values", {"relative_error", "depth_error", "delta1"}),
    ],
)
def test_every_task_is_recorded_compared_and_drawn(film, net_file, tmp_path, capsys, task, key, measures, exact):
    out = tmp_path / "out"
    flags = ("--exact",) if exact else ()
    told = run(
        capsys, "run", film, "--model", net_file, "--task", task, "--out", out, "--compare", "dense", "--show-reuse",
        *SMALL, *flags,
    )  # fmt: skip
    lines = lines_of(out)
    assert len(lines) == 5 and all(key in line["result"] for line in lines)
    assert all(set(line["scores"]) == measures for line in lines)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["task"] == task and set(summary["scores"]) == measures
    assert Image.open(out / "summary.png").size[0] == 1200
    best = {"semantic": "miou", "classify": "top5"}.get(task)
    if best is not None:
        assert summary["scores"][best]["min"] >= (0.999 if exact else 0.5)
    elif exact:
        assert summary["scores"]["relative_error"]["max"] < 1e-4
    assert {"semantic": "mean IoU of classes", "classify": "same class as dense"}.get(task, "error over") in told


def test_names_of_a_file_are_in_records(film, net_file, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("dark\nbright\n")
    out = tmp_path / "out"
    run(
        capsys, "run", film, "--model", net_file, "--task", "semantic", "--names", names, "--out", out, "--no-film",
        "--max-frames", 2, *SMALL,
    )  # fmt: skip
    assert {one["name"] for line in lines_of(out) for one in line["result"]["classes"]} <= {"dark", "bright"}


def test_a_saved_model_keeps_its_task_and_names_and_takes_others(film, net_file, tmp_path, capsys):
    names, saved = tmp_path / "names.txt", tmp_path / "maps.fluxshard"
    names.write_text("dark\nbright\n")
    run(
        capsys, "export", net_file, "--out", saved, "--task", "semantic", "--names", names, "--size", "64x96",
        "--backend", "reference",
    )  # fmt: skip
    kinds = {}
    for task in ("auto", "depth", "classify", "raw"):
        out = tmp_path / task
        run(
            capsys, "run", film, "--model", saved, "--task", task, "--out", out, "--no-film", "--max-frames", 2,
            "--backend", "reference",
        )  # fmt: skip
        kinds[task] = lines_of(out)[1]["result"]
    assert {one["name"] for one in kinds["auto"]["classes"]} <= {"dark", "bright"}
    assert "values" in kinds["depth"] and "values" in kinds["raw"]
    assert {one["name"] for one in kinds["classify"]["ranking"]} == {"dark", "bright"}


def test_a_canvas_moves_the_map_with_the_picture(film, net_file, tmp_path, capsys):
    out = tmp_path / "out"
    run(
        capsys, "run", film, "--model", net_file, "--task", "semantic", "--out", out, "--canvas", "--compare", "dense",
        *SMALL,
    )  # fmt: skip
    lines = lines_of(out)
    assert any(line["origin"] != [0, 0] for line in lines)
    assert np.mean([line["scores"]["same"] for line in lines]) > 0.8
    assert all(sum(line["result"]["map"]["counts"]) == np.prod(line["result"]["map"]["size"]) for line in lines)


@pytest.mark.parametrize(
    ("task", "words"), [("pose", "--task pose needs an Ultralytics checkpoint; use auto, semantic"), ("fly", "fly")]
)
def test_tasks_that_do_not_fit_are_one_line(film, net_file, tmp_path, capsys, task, words):
    with pytest.raises(SystemExit) as ended:
        main(["run", str(film), "--model", str(net_file), "--task", task, "--out", str(tmp_path / "out")])
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_outputs_that_do_not_have_the_task_are_refused(film, tmp_path, capsys):
    path, out = tmp_path / "net.pt", tmp_path / "out"
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), path)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(film), "--model", str(path), "--task", "semantic", "--out", str(out), *SMALL])
    assert ended.value.code == 1 and "none is a map of classes" in capsys.readouterr().err
