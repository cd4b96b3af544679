"""Threads of generated code: every iteration is run once, whoever is late, asleep, forked or at work elsewhere."""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from fluxshard.codegen.common.toolchain import detect_target

pytestmark = pytest.mark.requires_compiler
SOURCE = Path(__file__).with_name("pool_check.cpp")


def built(directory: Path, *flags: str) -> Path:
    text = files("fluxshard.codegen").joinpath("templates/cpp/pool.h").read_text()
    (directory / "pool.h").write_text(text)
    program = directory / "pool_check"
    compiler = detect_target("portable").compiler.split()
    command = [*compiler, "-std=c++17", "-O2", "-pthread", *flags, f"-I{directory}", str(SOURCE), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and flags:
        pytest.skip(f"no sanitizer: {done.stderr.splitlines()[-1][:200]}")
    assert not done.returncode, done.stderr
    return program


def test_every_iteration_is_run_once(tmp_path: Path) -> None:
    done = subprocess.run([built(tmp_path), "20000"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_threads_share_nothing_unordered(tmp_path: Path) -> None:
    """The same under ThreadSanitizer, which reports every access that is not ordered."""
    program = built(tmp_path, "-fsanitize=thread", "-g")
    done = subprocess.run([program, "1000", "here"], capture_output=True, text=True, timeout=300, check=False)
    if "FATAL: ThreadSanitizer" in done.stderr:
        pytest.skip(done.stderr.splitlines()[0][:200])  # address space randomised in a way that it does not know
    assert done.returncode == 0, done.stdout + done.stderr
