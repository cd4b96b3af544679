"""Reports of users of other tools, each a script of its own beside the test data: it fails where the fault is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACE = Path(os.environ.get("FLUXSHARD_DATA", ROOT.parent / "shared" / "data")).parent / "field"
SCRIPTS = sorted(path.stem for path in PLACE.glob("f[0-9]*.py"))

pytestmark = [pytest.mark.models, pytest.mark.requires_compiler, pytest.mark.slow]


@pytest.mark.parametrize("script", SCRIPTS or [pytest.param("", marks=pytest.mark.skip(f"no scripts in {PLACE}"))])
def test_the_value_is_right(script: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(PLACE)))}
    done = subprocess.run(
        [sys.executable, f"{script}.py"], cwd=PLACE, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
