"""The check of modules and folders says what is too large, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import house


def write(folder: Path, name: str, n_lines: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("x = 1\n" * n_lines)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """As full as a package may be: 12 modules and an __init__.py, here and one floor below, 400 lines each."""
    root = tmp_path / "package"
    for folder in (root, root / "below" / "deep"):
        for name in ("__init__", *"abcdefghijkl"):
            write(folder, f"{name}.py", house.MOST_LINES)
        write(folder, "long.jinja", 1000)
    return root


def test_a_full_package_passes(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.main(package) == 0
    assert capsys.readouterr() == ("", "")


def test_a_folder_too_many_share(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(package / "below" / "deep", "m.py", 1)
    assert house.main(package) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("package/below/deep has 13 modules; 12 are allowed: move ")


def test_modules_that_are_too_long(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(package, "a.py", 401)
    write(package / "below" / "deep", "__init__.py", 500)
    assert house.main(package) == 1
    one, two = capsys.readouterr().err.splitlines()
    assert one.startswith("package/a.py has 401 lines; 400 are allowed: cut ")
    assert two.startswith("package/below/deep/__init__.py has 500 lines;")


def test_it_looks_at_this_package() -> None:
    assert house.PACKAGE.name == "fluxshard" and (house.PACKAGE / "py.typed").is_file()
