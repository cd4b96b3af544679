"""Events as lines: of both forms, of one line each, and not without bound."""

from __future__ import annotations

import io
import json

import pytest

pytest.importorskip("structlog", reason="structlog is not installed: pip install '.[cloud]'")

import structlog

from fluxshard.cloud.monitoring import event_log as event_log_module
from fluxshard.cloud.monitoring.event_log import EventLog
from fluxshard.cloud.server.metrics import FrameEnd
from fluxshard.errors import WireError


def test_json_lines() -> None:
    file = io.StringIO()
    log = EventLog(file, "json")
    log.event("stream_opened", stream="cam1", caller="edge", epoch=3)
    log.event("stream_refused", reason="full", text='a "b"\nc')
    log.frame(FrameEnd.ANSWERED)
    opened, refused = (json.loads(line) for line in file.getvalue().splitlines())
    assert opened.pop("time").endswith("Z")
    assert opened == {"event": "stream_opened", "level": "info", "stream": "cam1", "caller": "edge", "epoch": 3}
    assert refused["level"] == "warning" and refused["text"] == 'a "b"\nc'


def test_text_is_one_line_an_event() -> None:
    file = io.StringIO()
    EventLog(file, "text").event("stream_refused", reason="full", text='a "b"\nc = d')
    (line,) = file.getvalue().splitlines()
    assert line.startswith("time=") and " level=warning event=stream_refused reason=full text=" in line


@pytest.mark.parametrize("form", ["json", "text"])
def test_failures_have_a_stack_where_nobody_expected_them(form) -> None:
    file = io.StringIO()
    log = EventLog(file, form)
    for error in (ValueError("surprise"), WireError("on purpose")):
        try:
            raise error
        except Exception as raised:
            log.failed(raised)
    surprise, purpose = file.getvalue().splitlines()
    assert "Traceback" in surprise and "ValueError" in surprise and "error" in surprise
    assert "Traceback" not in purpose and "on purpose" in purpose


def test_a_flood_of_one_event_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr(event_log_module.time, "monotonic", lambda: now)
    file = io.StringIO()
    log = EventLog(file, "json")
    for _ in range(500):
        log.event("stream_refused", reason="full")
    log.event("stream_opened", stream="cam1")
    assert len(file.getvalue().splitlines()) == 51
    now = 11.0
    log.event("stream_refused", reason="full")
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert (lines[51]["event"], lines[51]["of"], lines[51]["count"]) == ("suppressed", "stream_refused", 450)
    assert lines[52]["event"] == "stream_refused" and len(lines) == 53


class Full(io.StringIO):
    """A disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_what_cannot_be_written_is_lost_and_nothing_else() -> None:
    EventLog(Full(), "text").event("ready")
    closed = io.StringIO()
    log = EventLog(closed, "json")
    closed.close()
    log.event("ready")


def test_structlog_is_left_as_it_was() -> None:
    before = structlog.get_config()
    EventLog(io.StringIO(), "json").event("ready")
    assert structlog.get_config() == before and not structlog.is_configured()
