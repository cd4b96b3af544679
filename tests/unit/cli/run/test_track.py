"""`fluxshard run` with identities, and with outputs that would be inputs; on a detector that needs no weights."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluxshard
from fluxshard.cli import main
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning

needs_trackers = pytest.mark.skipif(
    importlib.util.find_spec("trackers") is None, reason="trackers is not installed: pip install 'fluxshard[track]'"
)
SIZE = (64, 96)


class Head(nn.Module):
    """Finds two objects of which the second is fainter, wherever it looks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2 * 6, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.copy_(torch.tensor([24.0, 16, 20, 10, 0.1, 0.8, 70, 40, 30, 20, 0.6, 0.1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3)).view(1, 2, 6).transpose(1, 2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("track")
    loaded = LoadedModel(Head().eval(), "detect", HeadLayout("detect", 2), ("cat", "dog"), stride_px=8)
    options = fluxshard.CompileOptions(backend="reference")
    fluxshard.compile(loaded, (1, 3, *SIZE), options=options).save(place / "net.fluxshard")
    torch.save(nn.Conv2d(3, 2, 1), place / "raw.pt")
    write_clip(place / "annotated.mp4", panning(SIZE, (0, 4), 6))
    return place


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@needs_trackers
@pytest.mark.parametrize("policy", ["planned", "propagated"])
def test_a_run_gives_objects_identities(place: Path, tmp_path: Path, policy: str) -> None:
    arguments = ["run", place / "annotated.mp4", "-m", place / "net.fluxshard", "--policy", policy]
    assert call(*arguments, "--track", "--out", tmp_path / "runs") == 0
    lines = [json.loads(line) for line in (tmp_path / "runs" / "frames.jsonl").read_text().splitlines()]
    ids = [{row["name"]: row["id"] for row in line["detections"]} for line in lines]
    assert len(ids) == 6 and ids[0] == {"dog": None, "cat": None}
    assert all(found == ids[-1] for found in ids[2:]) and len({*ids[-1].values()} - {None}) == 2
    assert json.loads((tmp_path / "runs" / "summary.json").read_text())["track"] is True
    assert call(*arguments, "--no-film", "--out", tmp_path / "plain") == 0
    assert '"id"' not in (tmp_path / "plain" / "frames.jsonl").read_text()


@needs_trackers
def test_a_network_without_detections_cannot_be_tracked(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--track", "--backend", "reference", "--out", tmp_path / "runs")
    assert call("run", place / "annotated.mp4", "-m", place / "raw.pt", *arguments) == 2
    assert "--track needs a network whose detections are known" in capsys.readouterr().err


def test_what_is_not_installed_is_said_before_anything_is_written(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    out = tmp_path / "runs"
    assert call("run", place / "annotated.mp4", "-m", place / "net.fluxshard", "--track", "--out", out) == 1
    assert "pip install 'fluxshard[track]'" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "annotated.mp4", "-m", "net.fluxshard", "--out", ".", "--overwrite"),
        ("run", "./annotated.mp4", "-m", "net.fluxshard", "--out", "../{}/.", "--overwrite"),
        ("export", "raw.pt", "--out", "raw.pt", "--overwrite"),
        ("calibrate", "annotated.mp4", "-m", "net.fluxshard", "--out", "net.fluxshard", "--overwrite"),
        ("calibrate", "annotated.mp4", "-m", "net.fluxshard", "--out", "annotated.mp4", "--overwrite"),
        ("profile", "-m", "net.fluxshard", "--out", "net.fluxshard", "--overwrite"),
        ("evaluate", "reuse", "--data", ".", "-m", "net.fluxshard", "--out", "."),
        ("serve", "-m", "net.fluxshard", "--insecure", "--listen", "127.0.0.1:0", "--ready-file", "net.fluxshard"),
        ("serve", "-m", "net.fluxshard", "--insecure", "--listen", "127.0.0.1:0", "--log-file", "net.fluxshard"),
        ("edge", "annotated.mp4", "-m", "net.fluxshard", "--server", "127.0.0.1:1", "--insecure", "--out", ".",
         "--overwrite"),
    ],
)  # fmt: skip
def test_no_output_is_an_input(
    place: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert call(*(argument.format(place.name) for argument in arguments)) == 2
    said = capsys.readouterr().err
    assert "which is read" in said and len(said.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
