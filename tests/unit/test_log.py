"""What the logger "fluxshard" is told."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from io import StringIO

import pytest
import torch
from rich.console import Console
from torch import nn

import fluxshard
from fluxshard.cli.support.messages import warnings_as_notes
from fluxshard.errors import warn

REFERENCE = fluxshard.CompileOptions(backend="reference")


@pytest.fixture
def lines() -> Iterator[list[tuple[str, str]]]:
    """Level and text of what is logged."""
    found: list[tuple[str, str]] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append((record.levelname, record.getMessage()))

    log, handler = logging.getLogger("fluxshard"), Listening()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(handler)
    log.setLevel(before)


def _net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).eval()


def test_compiles_and_what_a_stream_waits_for(lines: list[tuple[str, str]]) -> None:
    model = fluxshard.compile(_net(), (1, 3, 16, 24), options=REFERENCE)
    ((level, text),) = lines
    assert level == "INFO" and text.startswith("compiled Sequential 16x24, ") and "on reference in " in text
    model.explain((1, 3, 24, 24))  # asked for
    assert lines[1][0] == "INFO" and "another size, Sequential 24x24" in lines[1][1]
    with model.session() as session:
        session.run(torch.rand(1, 3, 16, 24))
        assert len(lines) == 2
        session.run(torch.rand(1, 3, 32, 32))
    assert lines[2][0] == "WARNING" and lines[2][1].endswith("; it had 16x24, 24x24") and len(lines) == 3


def test_islands_that_torch_runs_are_named(lines: list[tuple[str, str]]) -> None:
    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).sort(1)[0]

    model = fluxshard.compile(Sorted(), (1, 3, 8, 8), options=fluxshard.CompileOptions(backend="cpp"))
    notes = model.explain().notes
    assert notes
    assert [line for line in lines if "runs in torch: " in line[1]] == [
        ("INFO", f"{name} runs in torch: {why}") for name, why in notes.items()
    ]


def test_fallbacks_are_told_beside_the_warning(lines: list[tuple[str, str]]) -> None:
    with pytest.warns(RuntimeWarning, match="slow"):
        warn("100% slow")
    with pytest.warns(UserWarning, match="trust"):
        warn("trust it", UserWarning)
    assert lines == [("WARNING", "100% slow")]


def test_nothing_is_printed_by_itself() -> None:
    code = (
        "import logging, fluxshard\nlogging.getLogger('fluxshard').warning('unheard')\n"
        "logging.getLogger('fluxshard.video').error('unheard')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_commands_show_each_warning_once() -> None:
    screen = StringIO()
    with warnings_as_notes(Console(file=screen, width=200)):
        logging.getLogger("fluxshard.video").warning("motion comes from %s", "an encoder")
        logging.getLogger("fluxshard.video").warning("motion comes from %s", "an encoder")
        logging.getLogger("fluxshard").info("compiled")
        logging.getLogger("another").error("not ours")
        warnings.warn("not ours", RuntimeWarning, stacklevel=1)
    logging.getLogger("fluxshard").warning("afterwards")
    assert screen.getvalue() == "note: motion comes from an encoder\n"
