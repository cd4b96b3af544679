"""NVIDIA's compute-sanitizer over frames that launch every kernel: accesses, and races in shared memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SANITIZER = shutil.which("compute-sanitizer", path=f"{os.environ.get('PATH', '')}:/usr/local/cuda/bin")


@pytest.mark.skipif(SANITIZER is None, reason="no compute-sanitizer: it comes with the CUDA toolkit")
@pytest.mark.parametrize("what", ["float16", "float32", "images"])
@pytest.mark.parametrize(("tool", "graphs"), [("memcheck", False), ("memcheck", True), ("racecheck", False)])
def test_sanitizer_finds_nothing(tool: str, graphs: bool, what: str, tmp_path: Path) -> None:
    run = ["tests.gpu.image_tests", "odd"] if what == "images" else ["tests.gpu.every_kernel", what]
    command = [str(SANITIZER), "--tool", tool, "--error-exitcode", "9", "--log-file", str(tmp_path / "log"),
               "--report-api-errors", "no", "--kernel-name", "kns=fs_",  # not torch's own
               sys.executable, "-m", *run]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if not graphs:  # each tensor is an allocation of its own, so that accesses beyond one are seen
        environment["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"
    done = subprocess.run(
        [*command, *(["--graphs"] if graphs and what != "images" else [])], cwd=ROOT, env=environment,
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    log = (tmp_path / "log").read_text() if (tmp_path / "log").exists() else ""
    if re.search(r"Device not supported|insufficient permission|Failed to initialize|not permitted", log + done.stderr):
        pytest.skip(f"compute-sanitizer cannot work here: {log[-300:]}")
    assert done.returncode == 0, log[-6000:] + done.stderr[-3000:]
    assert "ERROR SUMMARY: 0 errors" in log or "0 hazards displayed" in log, log[-3000:]
    assert "frames" in done.stdout
