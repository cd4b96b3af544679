"""The directory of a run."""

from __future__ import annotations

import pytest

from fluxshard.cli.run.output_directory import prepare_directory
from fluxshard.errors import OptionError


def test_output_directory(tmp_path):
    prepare_directory(tmp_path / "a" / "b", overwrite=False)
    prepare_directory(tmp_path / "a" / "b", overwrite=False)  # nothing was left behind
    mine, *old = (tmp_path / "a" / "b" / name for name in ("notes.txt", "summary.json", "placements.jsonl"))
    for path in (mine, *old):
        path.touch()
    with pytest.raises(OptionError, match="not empty"):
        prepare_directory(tmp_path / "a" / "b", overwrite=False)
    prepare_directory(tmp_path / "a" / "b", overwrite=True)
    assert mine.exists() and not any(path.exists() for path in old)
    with pytest.raises(OptionError, match="is a file"):
        prepare_directory(mine, overwrite=True)
    with pytest.raises(OptionError, match="cannot be written"):
        prepare_directory(mine / "below", overwrite=False)
