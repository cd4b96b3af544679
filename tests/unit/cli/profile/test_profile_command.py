"""`fluxshard profile`: from a model to a latency profile, and what is refused before anything slow begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from fluxshard.cli import main
from fluxshard.cli.profile import profile_command
from fluxshard.cli.profile.profile_command import ProfileRequest, _prepare_file
from fluxshard.cli.support.reuse_flags import settle
from fluxshard.errors import OptionError
from fluxshard.runtime.offload.latency_profile import LatencyProfile
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning


@pytest.fixture(scope="module")
def net_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3, 2, 1))
    torch.save(net, path)
    return path


def run(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main(["profile", *map(str, arguments)])
    return caught.value.code


def test_a_profile_needs_no_data(
    net_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("--model", net_file, "--size", "64x96", "--backend", "reference", "--frames", 24)
    assert run(*given) == 0
    out = tmp_path / "runs/latency/net-planned.json"
    profile = LatencyProfile.load(out)
    assert profile.measured.policy == "planned" and profile.measured.backend == "reference"
    assert profile.facts["clip"] == "made up" and profile.facts["network_size"] == [64, 96]
    assert profile.model.samples == 24
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "at 50% of the work" in printed and "n/a" in printed and "net-planned.json" in printed
    assert sorted(path.name for path in out.parent.iterdir()) == ["net-planned.json", "net-planned.png"]
    before = out.read_bytes()
    assert run(*given) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "the default" in error and "--overwrite" in error
    assert out.read_bytes() == before
    assert run(*given, "--overwrite") == 0


def test_a_profile_of_a_video(net_file: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "pan.mp4", panning((64, 96), (2, 4), 12))
    out = tmp_path / "p.json"
    code = run(
        "--model", net_file, "--video", clip, "--size", "64x96", "--backend", "reference", "--frames", 20,
        "--policy", "propagated", "--out", out,
    )  # fmt: skip
    assert code == 0
    profile = LatencyProfile.load(out)
    assert profile.measured.policy == "propagated" and len(profile.model.slopes_ms) == 1
    assert profile.facts["clip"] == str(clip)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ((), 2, "--model"),
        (("--model", "NET", "--policy", "guessed"), 2, "--policy"),
        (("--model", "NET", "--frames", 3), 2, "--frames"),
        (("--model", "NET", "--size", "big"), 2, "--size"),
        (("--model", "NET", "--device", "tpu"), 2, "--device"),
        (("--model", "NET", "--dtype", "float16"), 2, "--device cuda"),
        (("--model", "NET", "--task", "pose"), 2, "--task pose"),
        (("--model", "no.pt"), 1, "does not exist"),
        (("--model", "NET", "--profile", "no.json"), 1, "no.json"),
        (("--model", "NET", "--profile", "no.json", "--policy", "planned"), 2, "leave out it"),
        (("--model", "NET", "--video", "no.mp4"), 1, "no.mp4"),
        (("--model", "NET", "--out", "nowhere/p.json"), 2, "does not exist"),
        (("--model", "NET", "--out", "p.png"), 2, ".json"),
        (("--model", "NET", "--out", "."), 2, "exists"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[object, ...], code: int, word: str, net_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)

    def compiled(*_: object) -> None:
        raise AssertionError("nothing slow happens")

    monkeypatch.setattr(profile_command, "prepare", compiled)
    given = [net_file if argument == "NET" else argument for argument in arguments]
    assert run(*given) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and word in error
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OptionError, match="cannot be written"):
        _prepare_file(*request_of(tmp_path / "p.json"))
    tmp_path.chmod(0o700)


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OptionError, match=r"--out \(='.*p.json'\) cannot be written: No space left on device"):
        _prepare_file(*request_of(tmp_path / "p.json"))


def test_what_may_be_overwritten_is_left_until_there_is_something_better(tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    out.write_text("old")
    assert _prepare_file(*request_of(out, overwrite=True)) == out
    assert out.read_text() == "old"


def request_of(out: Path, overwrite: bool = False):  # type: ignore[no-untyped-def]
    request = ProfileRequest(model=Path("m.pt"), out=out, overwrite=overwrite)
    return request, settle(request.reuse)
