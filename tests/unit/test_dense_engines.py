"""Which dense engines the benchmarks can have, and what they say of those that they cannot."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import dense_engines as module
from benchmarks.dense_engines import Engine, Picture, dense_engines

SIZE = (16, 24)
PICTURES = [np.full((*SIZE, 3), value, np.uint8) for value in (0, 51, 255)]
NET = torch.nn.Conv2d(3, 4, 3, padding=1)


@pytest.fixture
def only_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """One other engine is there, which is not compiled, and the processor has bfloat16."""

    def stand_in(net: torch.nn.Module, size: tuple[int, int], _: Sequence[Picture]) -> Iterator[Engine]:
        yield Engine("stand-in", "float32", lambda picture: net(module.normalised(picture)))

    monkeypatch.setattr(module, "_torch", stand_in)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(module, "has_bfloat16", lambda: True)


@pytest.fixture
def quantised(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """NNCF and OpenVINO stand-ins; what they were asked for."""
    asked: list[dict[str, Any]] = []

    def dataset(pictures: list[Picture], transform: Callable[[Picture], Any]) -> list[Any]:
        return [transform(picture) for picture in pictures]

    def quantize(model: str, data: list[Any], **options: object) -> str:
        asked.append({"model": model, "data": data, **options})
        return f"{model}, quantised"

    nncf = SimpleNamespace(Dataset=dataset, quantize=quantize, QuantizationPreset=SimpleNamespace(MIXED="mixed"))
    monkeypatch.setitem(sys.modules, "nncf", nncf)
    monkeypatch.setattr(module, "_converted", lambda net, size: "converted")
    monkeypatch.setattr(
        module, "_openvino_engine", lambda model, hint, precision: Engine(f"{model}, {hint}", precision, print)
    )
    return asked


@pytest.mark.usefixtures("only_int8")
def test_int8_is_named_as_missing_where_nncf_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    engines, missing = dense_engines(NET, SIZE, PICTURES)
    assert [engine.name for engine in engines] == ["stand-in"]
    assert [line.partition(": ")[0] for line in missing] == ["openvino", "openvino_int8", "onnxruntime"]
    assert missing[1].startswith("openvino_int8: ModuleNotFoundError: ")
    assert "nncf" in missing[1]


@pytest.mark.usefixtures("only_int8")
def test_int8_is_calibrated_on_all_given_pictures(quantised: list[dict[str, Any]]) -> None:
    engines, _ = dense_engines(NET, SIZE, PICTURES)
    assert [(engine.name, engine.precision) for engine in engines] == [
        ("converted, f32", "float32"),
        ("converted, bf16", "bfloat16"),
        ("converted, quantised, bf16", "int8"),
        ("stand-in", "float32"),
    ]
    (asked,) = quantised
    assert asked["subset_size"] == len(PICTURES)
    assert [data.shape for data in asked["data"]] == [(1, 3, *SIZE)] * len(PICTURES)
    np.testing.assert_allclose([data.max() for data in asked["data"]], [0, 0.2, 1], rtol=1e-6)


@pytest.mark.usefixtures("only_int8")
def test_what_int8_leaves_is_float32_on_a_processor_without_bfloat16(
    monkeypatch: pytest.MonkeyPatch, quantised: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    engines, missing = dense_engines(NET, SIZE, PICTURES)
    assert [engine.name for engine in engines] == ["converted, f32", "converted, quantised, f32", "stand-in"]
    assert missing[-1] == "bfloat16 rows: not on this processor"
    assert len(quantised) == 1


@pytest.mark.usefixtures("only_int8")
def test_int8_without_pictures_is_missing(quantised: list[dict[str, Any]]) -> None:
    engines, missing = dense_engines(NET, SIZE)
    assert [engine.precision for engine in engines] == ["float32", "bfloat16", "float32"]
    assert "openvino_int8: ValueError: no pictures to calibrate on" in missing
    assert not quantised


def test_int8_of_nncf_agrees_with_the_network() -> None:
    pytest.importorskip("nncf", reason="OpenVINO's int8 is by NNCF, which is not installed")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(8)]
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(16, 8, 3)).eval()
    (engine,) = module._openvino_int8(module._Tensors(net), SIZE, pictures)
    result: Any = engine.run(pictures[0])
    with torch.no_grad():
        wanted = net(module.normalised(pictures[0])).numpy()
    error = np.abs(result[0] - wanted).max()
    assert 0 < error < 0.05 * np.abs(wanted).max()


@pytest.mark.usefixtures("only_int8")
def test_engines_that_are_not_asked_for_are_not_made(quantised: list[dict[str, Any]]) -> None:
    engines, missing = dense_engines(NET, SIZE, PICTURES, ["torch"])
    assert [engine.name for engine in engines] == ["stand-in"]
    assert missing[:2] == ["openvino: not asked for", "openvino_int8: not asked for"]
    assert not quantised
