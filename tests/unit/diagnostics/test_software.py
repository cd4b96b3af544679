"""Python, torch, FFmpeg and extras: what is found, and what is said of what is not."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import av
import pytest
import torch

from fluxshard.diagnostics import software

PROJECT = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10, 9), "missing"), ((3, 11, 0), "ok"), ((3, 13, 5), "ok"), ((3, 14, 0), "missing")]
)
def test_python(version: tuple[int, ...], status: str) -> None:
    check = software.check_python(version)
    assert check.status == status and check.required
    assert check.advice == ("" if status == "ok" else "install Python 3.11 or later, below 3.14")


def test_limits_are_those_of_the_project() -> None:
    assert PROJECT["requires-python"] == ">={}.{},<{}.{}".format(*software.PYTHON[0], *software.PYTHON[1])
    assert "torch>={}.{}".format(*software.TORCH) in PROJECT["dependencies"]


def test_extras_are_those_of_the_project() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(extras) - {"dev"} == set(software.EXTRAS)
    for extra, distributions in software.EXTRAS.items():
        named = {re.split(r"[><=\[]", requirement)[0] for requirement in extras[extra]} - {
            "fluxshard"
        }  # its own extras
        assert sorted(names.split(",")[0] for names in distributions) == sorted(named)


def test_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = software.check_torch()
    assert found.status == "ok" and torch.__version__ in found.seen
    monkeypatch.setattr(torch, "__version__", "2.7.1+cpu")
    found = software.check_torch()
    assert found.fatal and found.advice == "pip install -U 'torch>=2.8'"
    monkeypatch.setitem(sys.modules, "torch", None)
    found = software.check_torch()
    assert found.fatal and "cannot be imported" in found.seen


def test_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(software.check_ffmpeg())
    assert [(check.name, check.status) for check in found] == [
        ("ffmpeg", "ok"), ("h.264 decoder", "ok"), ("h.264 encoder", "ok")
    ]  # fmt: skip
    assert re.search(r"libavcodec \d+\.\d+\.\d+", found[0].seen)

    def without_x264(name: str, mode: str) -> object:
        if name == "libx264":
            raise av.codec.codec.UnknownCodecError(name)
        return object()

    monkeypatch.setattr(av, "Codec", without_x264)
    found = list(software.check_ffmpeg())
    assert [check.status for check in found] == ["ok", "ok", "missing"] and found[2].fatal
    monkeypatch.setitem(sys.modules, "av", None)
    (only,) = software.check_ffmpeg()
    assert only.fatal and "PyAV cannot be imported" in only.seen


def test_extras_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"cuda-bindings": "12.9", "nvidia-cuda-nvrtc-cu12": "12.9.1", "pycocotools": "2"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {check.name: check for check in software.check_extras()}
    assert found["extra cuda"].seen == "cuda-bindings 12.9, nvidia-cuda-nvrtc-cu12 12.9.1"
    assert found["extra evaluate"].status == "ok"
    missing = found["extra yolo"]
    assert (missing.status, missing.fatal) == ("missing", False)
    assert missing.line().endswith("not installed (ultralytics, torchvision): pip install 'fluxshard[yolo]'")
