"""Promises of the project as a whole: what is public, what is shipped, and that the README's code runs."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder

import fluxshard

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "fluxshard"
SOURCE_DIRECTORIES = ("fluxshard", "tests", "examples", "benchmarks")
SOURCE_SUFFIXES = (".py", ".jinja", ".h", ".hpp", ".cpp", ".cu", ".cuh")
MAX_LINES = 450


def sources() -> list[Path]:
    found = [path for name in SOURCE_DIRECTORIES for path in (ROOT / name).rglob("*") if path.suffix in SOURCE_SUFFIXES]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def test_public_names_are_the_same_for_type_checkers_and_at_run_time() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    guarded = next(node.body for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guarded if isinstance(node, ast.ImportFrom)]
    typed = {alias.name: f"{node.module}" for node in imports for alias in node.names}
    assert sorted(typed) == sorted(fluxshard.__all__)
    for name, home in typed.items():
        expected = sys.modules.get(f"{home}.{name}") or getattr(importlib.import_module(home), name)
        assert getattr(fluxshard, name) is expected, name
    with pytest.raises(AttributeError, match="'fluxshard' has no attribute 'nothing'"):
        fluxshard.nothing


def test_importing_the_package_does_not_wait_for_torch() -> None:
    code = "import sys, fluxshard, fluxshard.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_version_is_the_one_of_the_distribution() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert fluxshard.__version__ == tomllib.load(file)["project"]["version"]


def test_wheel_contains_every_module_the_templates_and_the_typing_marker(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        entry_points = next(archive.read(name).decode() for name in packed if name.endswith("entry_points.txt"))
    templates = {
        path.relative_to(ROOT).as_posix() for path in (PACKAGE / "codegen" / "templates").rglob("*") if path.is_file()
    }
    modules = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")}
    assert templates and templates <= packed
    assert modules <= packed
    assert {"fluxshard/py.typed", "fluxshard/cloud/decoding/fingerprint.h264"} <= packed
    assert not [name for name in packed if name.startswith(("tests/", "examples/", "benchmarks/"))]
    assert "fluxshard = fluxshard.cli:main" in entry_points


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_source_file_holds_two_ideas() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert len(lengths) > 30
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


@pytest.mark.requires_compiler
def test_code_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    write_pan(tmp_path / "walk.mp4", n_frames=6)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("% computed") == 6


def test_links_of_the_documentation_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if not target.startswith(("http://", "https://")) and not (page.parent / target).exists()
    ]
    assert len(pages) >= 4
    assert broken == []


def test_paths_that_the_documentation_names_exist() -> None:
    named = re.compile(r"`((?:fluxshard|tests|docs|examples|benchmarks)/[\w./-]+)`")
    found = [
        (page.name, path)
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for path in named.findall(page.read_text())
    ]
    assert len(found) > 20
    assert [(page, path) for page, path in found if not (ROOT / path).exists()] == []


def test_extras_that_messages_and_pages_name_exist() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"])
    named = re.compile(r"(?:fluxshard|'\.)\[(\w+(?:,\w+)*)\]")
    found = {
        (str(path.relative_to(ROOT)), extra)
        for path in [*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for together in named.findall(path.read_text(encoding="utf-8"))
        for extra in together.split(",")
    }
    assert len(found) > 10
    assert {(path, extra) for path, extra in found if extra not in extras} == set()


def write_pan(path: Path, n_frames: int, height: int = 192, width: int = 256) -> None:
    """Writes a camera that pans over a texture by 4 px a frame, as H.264."""
    rng = np.random.default_rng(7)
    texture = np.kron(
        rng.integers(0, 256, (height // 8, width // 8 + n_frames, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8)
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(n_frames):
            picture = np.ascontiguousarray(texture[:, 4 * index : 4 * index + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
