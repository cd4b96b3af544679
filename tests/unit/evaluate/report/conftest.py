"""Fixtures of the tests of reports."""

from __future__ import annotations

import pytest

from fluxshard.evaluate.report import accuracy_plots, frame_plots, timelines


@pytest.fixture
def saved(monkeypatch):
    """Figures that were saved, instead of files."""
    figures = []
    for module in (accuracy_plots, frame_plots, timelines):
        monkeypatch.setattr(module, "save", lambda figure, path: figures.append(figure) or path)
    return figures
