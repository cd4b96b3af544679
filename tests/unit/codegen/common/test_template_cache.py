"""Bytecode of templates on disk: used where it is right, passed over where it is not."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from fluxshard.codegen.common import template_cache
from fluxshard.codegen.common.template_cache import FOLDER, TemplateCache


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", str(tmp_path))
    return tmp_path / FOLDER


def render(text: str) -> str:
    environment = jinja2.Environment(loader=jinja2.DictLoader({"a": text}), bytecode_cache=TemplateCache())
    return environment.get_template("a").render(x=3)


def test_a_template_is_compiled_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert render("{{ x }}!") == "3!" and len(list(root.iterdir())) == 1
    monkeypatch.setattr(jinja2.Environment, "_generate", lambda *_: pytest.fail("compiled again"))
    assert render("{{ x }}!") == "3!"


def test_other_text_and_other_versions_are_other_templates(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render("{{ x }}!")
    assert render("{{ x }}?") == "3?" and len(list(root.iterdir())) == 2
    monkeypatch.setattr(template_cache.sys, "version", "4")
    assert render("{{ x }}?") == "3?" and len(list(root.iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"\0" * 100])
def test_a_damaged_file_is_a_miss(root: Path, damage: bytes) -> None:
    render("{{ x }}!")
    (path,) = root.iterdir()
    before = path.read_bytes()
    path.write_bytes(before[:-1] + damage)
    assert render("{{ x }}!") == "3!" and path.read_bytes() == before


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLUXSHARD_CACHE_DIR", str(tmp_path / "file"))
    assert render("{{ x }}!") == "3!"
