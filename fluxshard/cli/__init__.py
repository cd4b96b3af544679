"""The `fluxshard` command."""

from __future__ import annotations

from fluxshard.cli.main import main as main
