"""Edge and cloud over an emulated link in small, from the command line: processes, answers, the report, going on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fluxshard.cli import main

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore:.*runs Python code:UserWarning")]
METHODS = ("edge-only", "offload-h-264", "fluxshard-planned-packed", "planned-carried-bitstream", "carried-10-ms")


@pytest.fixture(scope="module")
def command(data_dir: Path) -> Callable[..., list[str]]:
    for package in ("ultralytics", "pycocotools", "grpc", "cryptography"):
        pytest.importorskip(package, reason=f"needs {package}")
    weights, davis, traces = data_dir / "weights" / "yolo11n-seg.pt", data_dir / "davis", data_dir / "traces"
    for place in (weights, davis, traces / "sigcomm21_uplink"):
        if not place.exists():
            pytest.skip(f"no {place}")

    def arguments(out: Path, *flags: object) -> list[str]:
        given = [
            "--data", davis, "--clips", "car-roundabout", "--measure", "miou", "--model", weights, "--traces", traces,
            "--out", out, "--size", 96, "--backend", "reference", "--max-frames", 4, "--tiers", "medium",
            "--slowdown", "2", "--frames", 3, "--seconds", 1, "--warm", 0.5, "--link", "shaper",
        ]  # fmt: skip
        return ["evaluate", "end-to-end", *map(str, [*given, *flags])]

    return arguments


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


def test_a_small_evaluation_over_a_link(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(tmp_path, "--methods", ",".join(METHODS), "--edges", 2)) == 0
    folder = tmp_path / "over_link"
    body = json.loads((folder / "results.json").read_text())
    found = {one["method"]: one for one in body["runs"]}
    assert list(found) == [
        "edge only",
        "offload H.264",
        "FluxShard planned, packed",
        "planned + carried, bitstream",
        "carried, 10 ms",
    ]
    assert all(one["frames"] >= 3 and one["unanswered"] == 0 for one in found.values())
    alone, dense, planned, carried, timely = found.values()
    assert alone["cloud"] == 0 and alone["tx"] == 0 and alone["facts"]["link"] is None
    assert alone["busy_ms"] > 0 and dense["busy_ms"] == 0 and 0 < dense["energy_j"] < alone["energy_j"]
    assert dense["cloud"] == 1 and dense["compute"] == 1 and dense["tx"] > 0
    # the round trip of 40 ms is in every answer of the server, and the sum of the parts is the latency
    assert dense["parts_ms"]["link_ms"] >= 40 and dense["facts"]["link"] == "shaper"
    assert sum(planned["parts_ms"].values()) == pytest.approx(planned["mean_ms"], rel=0.01)
    assert planned["accuracy"] is not None and planned["edge_mib"] > 0 and planned["server_mib"] > 0
    assert carried["frames"] >= 3 and carried["tx"] > 0
    assert timely["missed"] <= planned["missed"] and timely["accuracy"] is not None
    one, two = body["edges"]
    assert (one["edges"], two["edges"]) == (1, 2) and one["method"] == two["method"] == "offload H.264"
    assert one["frames"] >= 3 and two["frames"] >= 6 and one["cloud"] == two["cloud"] == 1
    assert len(list((folder / "runs" / "medium" / "2x").glob("2-edges-*/edge-*/*.npz"))) == 2
    text = (folder / "report.md").read_text()
    assert "SHAPER" in text and text.count("TCP: ") == 3 + 4 and "queue" in text
    assert text.count("modelled") == 4  # the edge's energy: in its note, its columns, and its growth
    assert (folder / "report.html").read_text().count("data:image/png") == 3

    files = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*.npz")}
    capsys.readouterr()
    assert run(command(tmp_path, "--methods", ",".join(METHODS), "--edges", 2)) == 0  # nothing is run again
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*.npz")} == files
    assert "slower: " not in capsys.readouterr().err
