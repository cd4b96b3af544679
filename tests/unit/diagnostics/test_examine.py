"""All checks on a machine that is made up, and what happens when one of them fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxshard.diagnostics.check import Check
from fluxshard.diagnostics.examine import examine, run_checks


def test_an_empty_machine_is_examined_to_the_end(tmp_path: Path) -> None:
    found = list(examine(tmp_path))
    by_name = {check.name: check for check in found}
    assert len(by_name) == len(found)
    assert by_name["energy meter"].status == "missing"
    assert by_name["tcp slow start"].status == "warn"
    assert [check for check in found if "cannot be told" in check.seen] == []
    assert [check for check in found if check.fatal] == []
    assert {check.name for check in found if check.required} == {
        "python", "torch", "ffmpeg", "h.264 decoder", "h.264 encoder"
    }  # fmt: skip
    assert not [check for check in found if "\n" in check.line()]


def test_a_check_that_fails_is_a_finding() -> None:
    def fails() -> list[Check]:
        raise RuntimeError("first line\nsecond line")

    def fails_late():
        yield Check(name="a", status="ok", seen="")
        raise KeyError

    good = Check(name="good", status="ok", seen="x")
    found = list(run_checks((("bad", fails), ("late", fails_late), ("good", lambda: [good]))))
    assert [check.name for check in found] == ["bad", "a", "late", "good"]
    assert found[0].line() == "warn     bad                   cannot be told (RuntimeError: first line)"
    assert found[2].seen == "cannot be told (KeyError: KeyError)"


def test_an_end_from_outside_is_no_finding() -> None:
    def interrupted() -> list[Check]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_checks((("check", interrupted),)))


@pytest.mark.parametrize(
    ("status", "required", "fatal"), [("missing", True, True), ("missing", False, False), ("warn", True, False)]
)
def test_what_is_fatal(status, required: bool, fatal: bool) -> None:
    assert Check(name="a", status=status, seen="", required=required).fatal is fatal


def test_a_line_says_what_to_do() -> None:
    check = Check(name="thing", status="missing", seen="not\nthere", advice="get it")
    assert check.line() == "missing  thing                 not there: get it"
