"""Codecs, streams and cameras: what is found, and what is said of what is not."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from fluxshard.diagnostics import media


def test_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    found = media.check_codecs()
    assert found.status == "ok" and found.seen.startswith("H.265, AV1, VP9, VP8, MJPEG")

    def without(name: str, mode: str) -> object:
        if name in ("hevc", "libdav1d", "libaom-av1"):
            raise av.codec.codec.UnknownCodecError(name)
        return object()

    monkeypatch.setattr(av, "Codec", without)
    found = media.check_codecs()
    assert found.status == "warn" and found.seen.endswith("not H.265") and "pip install" in found.advice


def test_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    assert media.check_streams().seen == "RTSP, HLS, MPEG-TS"
    monkeypatch.setattr(av, "format", SimpleNamespace(formats_available={"hls", "mpegts"}))
    found = media.check_streams()
    assert found.status == "warn" and found.seen == "HLS, MPEG-TS; not RTSP"


def test_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = media.check_cameras(tmp_path)
    assert only.status == "missing" and not only.fatal and "no /dev/video0" in only.seen
    (tmp_path / "dev").mkdir()
    for number in (10, 0):
        (tmp_path / "dev" / f"video{number}").touch()
    title = tmp_path / "sys/class/video4linux/video0/name"
    title.parent.mkdir(parents=True)
    title.write_text("Webcam C920\n")
    allowed = tmp_path / "dev" / "video0"
    monkeypatch.setattr(os, "access", lambda path, mode: path == allowed)
    first, second = media.check_cameras(tmp_path)
    assert (first.name, first.status, first.seen) == ("camera 0", "ok", "/dev/video0, Webcam C920")
    assert (second.name, second.status) == ("camera 10", "warn") and "usermod -aG video" in second.advice
    monkeypatch.setattr(av, "format", SimpleNamespace(formats_available={"rtsp"}))
    (only,) = media.check_cameras(tmp_path)
    assert only.status == "warn" and only.seen == "2 in /dev, and this FFmpeg has no v4l2"
