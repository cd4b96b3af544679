"""Without the extra that a command needs: one line that says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

EDGE = ["edge", "x.mp4", "--model", "y.pt", "--server", "a:1", "--out", "out"]


@pytest.mark.parametrize(
    ("missing", "arguments"), [("grpc", EDGE), ("zstandard", EDGE), ("cryptography", ["certs", "--out", "site"])]
)
def test_commands(missing: str, arguments: list[str]) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from fluxshard.cli import main; main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("fluxshard: error: ")
    assert line.endswith("is not installed; run: pip install 'fluxshard[cloud]'")


def test_the_public_face() -> None:
    code = "import sys; sys.modules['zstandard'] = None; import fluxshard; fluxshard.offload"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    expected = "fluxshard.offload needs zstandard, which is not installed; run: pip install 'fluxshard[cloud]'"
    assert done.stderr.splitlines()[-1].endswith(expected)
