"""Imports of commands, and the garbage collector."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from fluxshard.cli.support.starting import imported_for_good

ROOT = Path(__file__).resolve().parents[4]

START = """
import gc, sys
from fluxshard.cli.support.starting import imported_for_good

class Ring:
    def __init__(self):
        self.ring = self

runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))
try:
    with imported_for_good():
        rings = [Ring() for _ in range(10_000)]
        during = len(runs)
        if len(sys.argv) > 1:
            raise ImportError
except ImportError:
    pass
print(during, gc.isenabled(), gc.get_freeze_count() > 10_000)
del rings[:]
[Ring() for _ in range(10_000)]
print(bool(runs))
"""


@pytest.mark.parametrize("fails", [(), ("fails",)])
def test_nothing_is_collected_meanwhile_and_what_is_there_stays(fails: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, *fails], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "True", "True", "True"]


def test_a_process_with_torch_is_left_as_it_is() -> None:
    import torch  # noqa: F401

    frozen = gc.get_freeze_count()
    with imported_for_good():
        assert gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() == frozen
