"""Edge and cloud in small, from the command line: what is recorded of two clips, replays, and the report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxshard.cli import main
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.content import method_memory
from fluxshard.evaluate.end_to_end.settings import SETTINGS, methods_of
from fluxshard.evaluate.traces.workers import Setup

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore:.*runs Python code:UserWarning")]


@pytest.fixture(scope="module")
def command(data_dir: Path) -> Callable[..., list[str]]:
    pytest.importorskip("ultralytics", reason="needs the ultralytics package")
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    weights, davis, traces = data_dir / "weights" / "yolo11n-seg.pt", data_dir / "davis", data_dir / "traces"
    for place in (weights, davis, traces / "sigcomm21_uplink"):
        if not place.exists():
            pytest.skip(f"no {place}")

    def arguments(out: Path, *flags: str) -> list[str]:
        given = [
            "--data",
            davis,
            "--clips",
            "car-roundabout",
            "--measure",
            "miou",
            "--model",
            weights,
            "--traces",
            traces,
            "--out",
            out,
            "--size",
            192,
            "--workers",
            1,
        ]
        given += ["--max-frames", 6, "--links", 1, "--seconds", 1, "--oracles", 1, "--edges", "1,2"]
        return ["evaluate", "end-to-end", "--replay", *map(str, given), "--backend", "reference", *flags]

    return arguments


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


def test_a_small_evaluation(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "replay"
    assert run(command(out, "--tiers", "low,medium")) == 0
    body = json.loads((out / "results.json").read_text())
    found = {(one["tier"], one["method"]): one for one in body["methods"]}
    assert body["description"]["measure"] == "miou" and body["options"]["workload"] == "seg"
    dense, planned = found["medium", "offload H.264"], found["medium", "FluxShard planned, bitstream"]
    assert dense["loss"] == 0 and dense["compute"] == 1 and planned["compute"] < 1
    assert planned["accuracy"] is not None and planned["mean_ms"] < found["medium", "edge only"][
        "mean_ms"
    ] == pytest.approx(545.5)
    assert {one["edges"] for one in body["edges"]} == {1, 2}
    assert (out / "report.html").read_text().count("data:image/png") == 5
    assert "the paper has YOLO11m-seg" in (out / "report.md").read_text()
    files = {path: path.stat().st_mtime_ns for path in (out / "traces").rglob("*.gz")}

    capsys.readouterr()
    assert run(command(out, "--tiers", "low,medium,uplink")) == 0  # only the new links are replayed
    assert {path: path.stat().st_mtime_ns for path in (out / "traces").rglob("*.gz")} == files
    said = capsys.readouterr().err
    assert "uplink" in said and "1 of 1 links" in said and "low:" not in said
    assert "| uplink |" in (out / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_still_picture_and_a_cut(command: Callable[..., list[str]], tmp_path: Path) -> None:
    out = tmp_path / "replay"
    flags = ["--clips", "car-roundabout,dog", "--max-frames", "8", "--tiers", "medium", "--edges", "1"]
    assert run(command(out, *flags, "--oracles", "0", "--extremes")) == 0
    body = json.loads((out / "results.json").read_text())
    found = {(one["clip"], one["method"]): one for one in body["extremes"]}
    planned = found["cut", "FluxShard planned, bitstream"]
    assert found["still", "FluxShard planned, bitstream"]["compute"] < planned["compute"] < 1
    assert planned["cut"] == 6 and planned["after_cut"]["work"] > 0.5
    assert "(section V-G)" in (out / "report.md").read_text()


@pytest.mark.slow
def test_memory_of_processes(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, clip = data_dir / "weights" / "yolo11n-seg.pt", data_dir / "videos" / "sam2_juggle_720p24.mp4"
    for place in (weights, clip):
        if not place.exists():
            pytest.skip(f"no {place}")
    monkeypatch.setattr(method_memory, "ROLES", ("planned",))
    setup = Setup(weights=weights, size="192", backend="reference")
    dense, planned = method_memory.method_memory(
        setup, Clip("juggle", clip), methods_of(SETTINGS["seg"], 0), tmp_path / "out"
    )
    assert dense.cached_bytes == 0 < planned.cached_bytes
    for one in (dense, planned):
        assert math.isnan(one.peak_mib) or one.peak_mib > 100, "torch alone takes more"
