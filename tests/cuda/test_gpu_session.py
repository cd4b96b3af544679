"""The session on a GPU: its order, its time, what it leaves when it is cut off; and a rehearsal in the emulator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_log import read_log
from benchmarks.gpu_parts import PYTEST, SECONDS, Part, gpu_parts, rehearsal_parts
from benchmarks.gpu_session import BUDGET_S, SUMMARY_LINES, main, run_session, summary

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _interrupts_reach_what_is_started() -> Iterator[None]:
    """A shell that starts these tests in the background has interrupts ignored by all that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _pytest_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts run pytest, whose output is read; how these tests were started is not for them."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def part(name: str, code: str = "print('done')", limit_s: float = 20, **more: object) -> Part:
    """A part that runs Python code."""
    return Part(name=name, shows="a test", command=(sys.executable, "-c", code), limit_s=limit_s, **more)  # type: ignore[arg-type]


def test_parts_run_in_order_and_leave_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "gpu"
    results = run_session(
        [part("one", "print('first')"), part("two", "import sys; print('broke'); sys.exit(3)")], out, 60
    )
    assert [(result.name, result.status, result.reason) for result in results] == [
        ("one", "passed", ""), ("two", "failed", "broke"),
    ]  # fmt: skip
    assert (out / "one.log").read_text() == "first\n"
    assert [one["status"] for one in json.loads((out / "session.json").read_text())] == ["passed", "failed"]
    assert (out / "summary.txt").read_text() == summary(results, out) + "\n"
    assert "two        failed" in capsys.readouterr().out


def test_a_part_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    code = """
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
        time.sleep(60)
    """
    started = time.monotonic()
    (result, after) = run_session([part("slow", textwrap.dedent(code), limit_s=3), part("after")], tmp_path, 60)
    assert result.status == "timed out" and after.status == "passed" and time.monotonic() - started < 30
    child = int((tmp_path / "slow.log").read_text().split()[0])
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_tests_that_take_too_long_say_what_has_failed(tmp_path: Path) -> None:
    """pytest prints failures at its end: it is interrupted, not killed; with processes of its own as well."""
    (tmp_path / "test_it.py").write_text(
        "import time\ndef test_a(): assert 0, 'what matters'\ndef test_b(): time.sleep(60)\n"
    )
    command = (*PYTEST, "-n", "2", str(tmp_path / "test_it.py"))
    slow = Part(name="slow", shows="a test", command=command, limit_s=20)
    (result,) = run_session([slow], tmp_path / "out", 60)
    assert result.status == "timed out" and result.code is None and result.seconds <= 21
    assert result.reason.startswith("1 failed") and any("what matters" in line for line in result.key_figures)


def test_a_session_that_is_terminated_ends_its_part(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_session", "--device", "emulated", "--only", "laws", "--out"]
    session = subprocess.Popen([*command, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        children: list[str] = []
        for _ in range(600):
            children = Path(f"/proc/{session.pid}/task/{session.pid}/children").read_text().split()
            if (tmp_path / "laws.log").exists() and children:
                break
            time.sleep(0.1)
        time.sleep(1)  # the part is begun and known
    finally:
        session.terminate()
        assert session.wait(20) == 128 + signal.SIGTERM
    assert children and not any(Path(f"/proc/{child}").exists() for child in children)


def test_what_tested_nothing_has_not_passed(tmp_path: Path) -> None:
    """A tool that cannot work here, or tests that are all skipped."""
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_a(): pytest.skip('Device not supported')\n")
    tests = Part(
        name="tests", shows="a test", command=(*PYTEST, str(tmp_path / "test_it.py")), limit_s=30, decides=True
    )
    refused = "print('==ERROR== ERR_NVGPUCTRPERM - The user does not have permission')"
    results = run_session([tests, part("profile", refused), part("last")], tmp_path / "out", 60)
    assert [result.status for result in results] == ["skipped"] * 3
    assert "Device not supported" in results[0].reason and "ERR_NVGPUCTRPERM" in results[1].reason


def test_a_part_is_told_its_time_and_its_exit_status_is_kept(tmp_path: Path) -> None:
    results = run_session([part("one", f"import sys; sys.exit({SECONDS} * 0 + 3)", limit_s=40)], tmp_path, 60)
    assert results[0].code == 3 and json.loads((tmp_path / "session.json").read_text())[0]["code"] == 3
    run_session([part("two", f"print({SECONDS})", limit_s=40)], tmp_path, 35)
    assert 8 <= int((tmp_path / "two.log").read_text()) <= 10  # of the 35 s that are left


def test_a_profile_is_one_line() -> None:
    kernel = """
  fs_gemm_64x16x32_k64_n16_f16_0 (25, 1, 1)x(128, 1, 1), Context 1, Stream 7, Device 0, CC 9.0
    Duration                         us        {0}
    Compute (SM) Throughput           %        {1}
    Achieved Occupancy                %        12.5
"""
    reading = read_log(kernel.format("10.5", 20) + kernel.format(8, "31.25"))
    assert reading.figures == ("profiled kernels (2): 8 to 10.5 us, 20 to 31.25 % of SM, 12.5 to 12.5 % occupancy",)
    assert not reading.tests and not reading.idle


def test_the_first_part_that_decides_is_one_network(tmp_path: Path) -> None:
    command = [*gpu_parts(tmp_path)[1].command, "--collect-only"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True).stdout
    assert [line.partition("[")[2] for line in found.splitlines() if "::" in line] == ["yolo11n-640-float16]"]


def test_what_does_not_fit_any_more_is_skipped_and_said(tmp_path: Path) -> None:
    results = run_session([part("long", limit_s=100), part("short", limit_s=5)], tmp_path, 20)
    assert [result.status for result in results] == ["skipped", "passed"]
    assert results[0].reason.endswith("s are left of 20 s")


def test_a_part_gets_no_more_than_the_time_that_is_left(tmp_path: Path) -> None:
    (result,) = run_session([part("slow", "import time; time.sleep(60)", limit_s=6)], tmp_path, 3)
    assert result.status == "timed out" and result.seconds < 6


def test_a_tool_that_is_not_there(tmp_path: Path) -> None:
    (result,) = run_session([part("profile", tool="no-such-profiler")], tmp_path, 20)
    assert result.status == "skipped" and "no no-such-profiler on this machine" in result.reason


def test_where_the_first_networks_fail_only_the_next_part_runs(tmp_path: Path) -> None:
    parts = [part("machine"), part("networks", "1 / 0", decides=True), part("alone"), part("laws"), part("frames")]
    results = run_session(parts, tmp_path, 60)
    assert [result.status for result in results] == ["passed", "failed", "passed", "skipped", "skipped"]
    assert "ZeroDivisionError" in results[1].reason and "networks failed" in results[3].reason


def test_a_session_that_is_cut_off_leaves_what_it_had(tmp_path: Path) -> None:
    code = f"""
        import sys
        from pathlib import Path
        from tests.cuda.test_gpu_session import part
        from benchmarks.gpu_session import run_session
        run_session([part("one"), part("two", "import time; time.sleep(30)", 40)], Path({str(tmp_path)!r}), 60)
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=environment, cwd=ROOT)
    try:
        for _ in range(600):
            if (tmp_path / "two.log").exists():
                break
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    (one,) = json.loads((tmp_path / "session.json").read_text())
    assert one["name"] == "one" and one["status"] == "passed"
    assert "one        passed" in (tmp_path / "summary.txt").read_text()


def test_the_summary_has_forty_lines_at_most(tmp_path: Path) -> None:
    figures, old = tmp_path / "figures.json", tmp_path / "old.json"
    old.write_text(json.dumps({"key_figures": ["of another session"]}))
    lines_of = {"key_figures": [f"figure {n}" for n in range(90)]}
    write = f"import json, pathlib; pathlib.Path({str(figures)!r}).write_text(json.dumps({lines_of!r}))"
    results = run_session([part("one", write, figures=figures), part("two", figures=old)], tmp_path, 60)
    assert results[1].key_figures == ()
    lines = summary(results, tmp_path).splitlines()
    assert len(lines) == SUMMARY_LINES and "figure 0" in lines and "more figures" in lines[-1]


def test_a_session_fits_its_budget_and_asks_the_most_telling_first(tmp_path: Path) -> None:
    parts = gpu_parts(tmp_path)
    assert [one.name for one in parts] == [one.name for one in rehearsal_parts(tmp_path)]
    assert [one.name for one in parts[:3]] == ["machine", "networks", "alone"] and parts[1].decides
    assert BUDGET_S <= 420 and sum(one.limit_s for one in parts[:6]) <= BUDGET_S + 10
    assert "not lost_device" in parts[-1].command
    for one in parts:  # what it names is there
        for argument in one.command:
            assert not argument.startswith("tests/") or (ROOT / argument).is_file(), argument


def test_it_needs_a_gpu_or_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path)])
    assert "torch finds no GPU: check nvidia-smi, or rehearse" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--device", "emulated", "--only", "network", "--out", str(tmp_path)])
    assert "--only names network; there are machine, networks" in capsys.readouterr().err


@pytest.mark.requires_compiler
@pytest.mark.parametrize("deciding", [(), pytest.param(("networks",), marks=pytest.mark.slow)])
def test_the_order_is_rehearsed_without_a_gpu(
    deciding: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parts that are quick; `python -m benchmarks.gpu_session --device emulated` takes all of them."""
    chosen = ["machine", *deciding, "alone"]
    assert main(["--device", "emulated", "--out", str(tmp_path), "--only", *chosen, "profile"]) == 0
    results = json.loads((tmp_path / "session.json").read_text())
    assert [(one["name"], one["status"]) for one in results][:-1] == [(name, "passed") for name in chosen]
    assert json.loads((tmp_path / "machine.log").read_text())["device"] == "emulated"
    printed = capsys.readouterr().out
    assert "tiny@128: convolutions alone" in printed and len(printed.splitlines()) < 60
