"""Saved models as values: what a file keeps, and values that no model has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fluxshard
from fluxshard.errors import ModelError
from fluxshard.saved.container import Container, container_bytes, read_container
from fluxshard.saved.saved_model import SavedArray, SavedModel, SavedProgram, SavedSize, read_saved, write_saved
from fluxshard.testing.plan_builder import PlanBuilder


@pytest.fixture(scope="module")
def saved() -> SavedModel:
    plan = _plan()
    weights = {
        spec.name: SavedArray(
            dtype="float32",
            shape=spec.shape,
            order=tuple(range(len(spec.shape))),
            data=np.arange(int(np.prod(spec.shape)), dtype=np.float32).view(np.uint8),
        )
        for spec in plan.weights
    }
    program = SavedProgram(
        name="step",
        isa="avx2",
        machine="x86_64",
        compiler_id="g++ 1",
        flags=("-O3",),
        text="int x;",
        library=b"\x7fELF",
    )
    return SavedModel(
        options=fluxshard.CompileOptions(backend="cpp", canvas_px=2),
        sizes=(SavedSize(plan=plan, weights=weights, dense_macs=5),),
        programs=(program,),
        profile={"format": 1},
        outputs={"task": "raw"},
        facts={"torch": "2"},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.fluxshard"


def test_round_trip(saved: SavedModel, path: Path) -> None:
    assert write_saved(saved, path) == path.stat().st_size
    found = read_saved(path)
    assert found.path == str(path) and found.options == saved.options
    assert (found.programs, found.profile, found.outputs, found.facts) == (
        saved.programs, saved.profile, saved.outputs, saved.facts,
    )  # fmt: skip
    (size,), (before,) = found.sizes, saved.sizes
    assert size.plan == before.plan and size.dense_macs == 5
    for name, array in before.weights.items():
        assert size.weights[name].shape == array.shape and np.array_equal(size.weights[name].data, array.data)
    height, width = before.plan.image_size
    assert found.image_sizes == ((height - 2, width - 2),)


def test_equal_weights_are_kept_once(saved: SavedModel, path: Path) -> None:
    one = write_saved(saved, path)
    two = write_saved(replace(saved, sizes=saved.sizes * 2), path)
    assert two < 1.7 * one and len(read_container(path).parts) == len(set(map(bytes, read_container(path).parts)))


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.pop("sizes"),
        lambda h: h.update(sizes=[]),
        lambda h: h.update(options={**h["options"], "speed": 9}),
        lambda h: h.update(options={**h["options"], "backend": "fast"}),
        lambda h: h.update(options={**h["options"], "canvas_px": 8}),  # all of the plan's height
        lambda h: h.update(options={**h["options"], "canvas_px": 4096}),
        lambda h: h.update(programs=[{**h["programs"][0], "name": "../../x"}]),
        lambda h: h.update(programs=[{**h["programs"][0], "name": ""}]),
        lambda h: h.update(programs=[{**h["programs"][0], "text": 10**9}]),
        lambda h: h.update(programs=[{**h["programs"][0], "more": 1}]),
        lambda h: h["sizes"][0].update(digest="0" * 64),
        lambda h: h["sizes"][0].update(plan="x"),
        lambda h: h["sizes"].append({**h["sizes"][0], "weights": {}}),
        lambda h: h["sizes"][0]["weights"].clear(),
        lambda h: _weight(h).__setitem__(0, "float64"),
        lambda h: _weight(h).__setitem__(0, "object"),
        lambda h: _weight(h).__setitem__(1, [-1, -1]),
        lambda h: _weight(h).__setitem__(1, [10**12]),
        lambda h: _weight(h).__setitem__(2, [0, 0, 0, 0]),
    ],
)
def test_values_that_no_model_has(saved: SavedModel, path: Path, change: Any) -> None:
    write_saved(saved, path)
    container = read_container(path)
    header = {key: value for key, value in container.header.items() if key != "parts"}
    change(header)
    path.write_bytes(container_bytes(Container(header, container.parts)))
    with pytest.raises(ModelError, match="holds what this version does not read"):
        read_saved(path)


def _weight(header: Any) -> list[Any]:
    weights = header["sizes"][0]["weights"]
    found: list[Any] = weights[sorted(weights)[-1]]
    return found


def _plan() -> Any:
    builder = PlanBuilder(3, 8, 10)
    return builder.finish(builder.conv("image", 4))
