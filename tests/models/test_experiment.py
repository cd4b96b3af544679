"""The whole evaluation in small, from the command line: calibration across halves, methods, pictures, report."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fluxshard.cli import main

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore:.*runs Python code:UserWarning")]


@pytest.fixture(scope="module")
def command(data_dir: Path) -> Callable[[Path], list[str]]:
    pytest.importorskip("ultralytics", reason="needs the ultralytics package")
    pytest.importorskip("pycocotools", reason="needs pycocotools")
    weights, davis = data_dir / "weights" / "yolo11n-seg.pt", data_dir / "davis"
    for place in (weights, davis):
        if not place.exists():
            pytest.skip(f"no {place}")

    def arguments(out: Path) -> list[str]:
        given = ["--data", davis, "--clips", "car-roundabout,dog", "--model", weights, "--out", out, "--size", 192]
        given += ["--max-frames", 6, "--methods", "skip,ablations", "--budget", 0.5, "--points", 1, "--workers", 1]
        return ["evaluate", "reuse", *map(str, given), "--examples", "1", "--backend", "reference"]

    return arguments


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


def test_a_small_evaluation(
    command: Callable[[Path], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "evaluation"
    assert run(command(out)) == 0
    scores = json.loads((out / "scores.json").read_text())
    methods = {one["method"] for one in scores}
    assert {"dense", "skip every=2", "planned@50%"} <= methods and any(name.endswith("w/o remap") for name in methods)
    by_method = {(one["method"], one["clip"]): one for one in scores}
    for clip in ("car-roundabout", "dog"):
        dense, planned = by_method["dense", clip], by_method["planned@50%", clip]
        assert dense["miou"] == pytest.approx(1) and dense["compute_ratio"] == 1 and dense["jaccard"] is not None
        assert planned["compute_ratio"] < 1 and len(planned["frames"]) == 6
        assert by_method["skip every=2", clip]["compute_ratio"] == pytest.approx(2 / 5)
    # calibrated on one clip, reported on the other
    profiles = [json.loads(path.read_text()) for path in sorted((out / "profiles").glob("*.json"))]
    assert [profile["facts"]["clips"] for profile in profiles] == [["car-roundabout"], ["dog"]]
    report, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    HTMLParser().feed(report)
    assert "planned@50%" in report and "| planned@50% |" in text and report.count("data:image") >= 5
    assert {path.name for path in (out / "figures").iterdir()} >= {
        "frontier.png",
        "naive.png",
        "remap.png",
        "latency.png",
    }

    before = {path: path.stat().st_mtime_ns for path in out.glob("traces/*/*")}
    capsys.readouterr()
    assert run([*command(out), "--measure", "miou"]) == 0  # another question about the same traces
    assert {path: path.stat().st_mtime_ns for path in out.glob("traces/*/*")} == before
    assert "mIoU" in (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--methods", "magic"], "magic is not known"),
        (["--clips", "nowhere"], "nowhere is not there"),
        (["--budget", "1.5"], "--budget"),
        (["--profile", "nonsense"], "LABEL=FILE"),
        (["--policies", "both"], "--policies"),
    ],
)
def test_wrong_usage_is_one_line(
    command: Callable[[Path], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str],
    message: str,
) -> None:  # fmt: skip
    assert run([*command(tmp_path / "out"), *extra]) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1
