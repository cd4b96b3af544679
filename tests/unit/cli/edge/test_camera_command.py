"""`fluxshard edge --plan server`: what it writes, with a server and without, and users' mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

from fluxshard.cli import main
from fluxshard.cloud.network.access import ServerAccess
from fluxshard.cloud.server.served_model import Catalogue
from fluxshard.cloud.server.stream_server import StreamServer
from fluxshard.pipeline.sinks.json_lines import read_records
from fluxshard.testing import panning, write_clip
from fluxshard.testing.networks import bright_model
from fluxshard.testing.offload.grpc_serving import serving
from fluxshard.testing.offload.watching import watched

SIZE = (64, 96)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    options = {"preset": "veryfast", "crf": "18", "x264-params": "bframes=0:keyint=10:min-keyint=10:scenecut=0"}
    return write_clip(path, panning((128, 192), (0, 16), 12), options=options)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    model = watched(bright_model(), SIZE)
    with serving(lambda: StreamServer(Catalogue([model.served])), ServerAccess(insecure=True)) as served:
        yield served.address


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["edge", *(str(argument) for argument in arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_a_server_watches_a_video(clip: Path, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, said, _ = call(
        capsys, clip, "--plan", "server", "--server", server, "--insecure", "--out", out, "--size", "64x96"
    )
    assert code == 0 and "the server is there: reference float32" in said and "11 by the server" in said
    assert {path.name for path in out.iterdir()} == {"annotated.mp4", "frames.jsonl", "summary.json", "summary.png"}
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert len(lines) == 12 and sum(len(line["detections"]) for line in lines) > 10
    assert {line["placement"] for line in lines} == {"cloud"}
    assert all(line["detections"][0]["name"] == "0" for line in lines if line["detections"])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["offload"]["plan"] == "server" and summary["backend"] == "reference"
    assert summary["placement"]["cloud"] == 11 and 0 < summary["compute_ratio"]["mean"] < 1
    assert [record.placement["answered_by"] for record in read_records(out / "frames.jsonl") if record.placement] == [
        "cloud"
    ] * 12  # fmt: skip


def test_frames_without_an_answer_are_written_as_well(
    clip: Path, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server has no model of this size."""
    out = tmp_path / "out"
    code, said, _ = call(
        capsys, clip, "--plan", "server", "--server", server, "--insecure", "--out", out, "--size", "96x96",
        "--max-frames", "3",
    )  # fmt: skip
    assert code == 0 and "frames go without an answer: this server runs no such model" in said
    assert "2 not at all" in said
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [(line["placement"], line["compute_ratio"]) for line in lines] == [("none", None)] * 3
    assert json.loads((out / "summary.json").read_text())["placement"]["unanswered"] == 2


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--payload", "raw"], "--payload is not for --plan server"),
        (["--server-work", "edge"], "--server-work is not for"),
        (["--dispatch", "paper"], "--dispatch is not for"),
        (["--latency-profile", "x.json"], "--latency-profile is not for"),
        (["--show-reuse"], "--show-reuse is not for"),
        (["--conf", "2"], "--conf"),
        (["--deadline", "-1"], "deadline_ms"),
        (["--size", "x"], "--size"),
    ],
)
def test_flags_that_make_no_sense(
    flags: list[str], word: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = [clip, "--plan", "server", "--server", "127.0.0.1:1", "--insecure", "--out", tmp_path / "out"]
    code, _, error = call(capsys, *given, *flags)
    assert code == 2 and word in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_without_a_plan_of_the_server_a_model_is_needed(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = call(capsys, clip, "--server", "127.0.0.1:1", "--insecure", "--out", tmp_path / "out")
    assert code == 2 and "--model is missing" in error
