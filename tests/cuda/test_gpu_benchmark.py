"""The benchmark for GPUs, run by the emulator on a tiny net: it works, and writes what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_dense, gpu_frames
from benchmarks.gpu_cases import case_of, place_of
from benchmarks.gpu_clock import Times, ratio
from benchmarks.plans import load_plan, seeded_weights
from fluxshard.ops.interpret import interpret

ROOT = Path(__file__).resolve().parents[2]
MISSING = (
    "av",
    "typer",
    "rich",
    "ultralytics",
    "torchvision",
    "timm",
    "safetensors",
    "PIL",
    "onnxruntime",
    "cv2",
    "hypothesis",
)


@pytest.mark.requires_compiler
def test_the_benchmark_runs_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "gpu.json"
    assert gpu.main(["--device", "emulated", "--out", str(out), "--rounds", "2", "--no-autotune"]) == 0
    report = json.loads(out.read_text())
    assert report["environment"].keys() >= {"date", "command", "commit", "gpu", "driver", "cuda", "torch", "nvrtc"}
    (case,) = report["cases"]
    assert case["case"] == "tiny@128" and case["fastest"] == "torch eager" and case["wrong"] == []
    assert case["unavailable"].keys() == {"torch CUDA graph", "torch.compile"}
    rows = {row["contender"]: row for row in case["rows"]}
    names = ["torch eager", *(gpu_frames.given_name(share) for share in gpu_frames.SHARES)]
    assert list(rows) == [*names, gpu_frames.changed_name(0.25), gpu_frames.planned_name(0.25)]
    assert rows["FluxShard 100% work"]["compute_ratio"] == pytest.approx(1.0)
    assert rows["FluxShard 0% work"]["compute_ratio"] == 0 and rows["FluxShard 0% work"]["limit"] == 0.08
    assert 0 < rows["FluxShard 25% changed"]["compute_ratio"] < 1
    assert 0 < rows["FluxShard 25% changed, planned"]["compute_ratio"] < 1
    assert rows["FluxShard 25% changed"]["share"] == pytest.approx(0.25, abs=0.01)
    assert all(len(times) == 2 and min(times) > 0 for times in case["times"].values())
    details = case["details"]
    assert details["launches"]["given"]["islands"] == details["launches"]["found"]["islands"] == 1
    assert 0 < details["launches"]["given"]["kernels"] < details["launches"]["found"]["kernels"]
    assert details["state_bytes"] > 0 and details["compile_cold_s"] > 0
    kernels = case["roofline"][""]
    assert kernels["kernels"] == len(kernels["rows"]) == 6
    assert all(row["of_ceiling"] > 0 and row["ms"] > 0 for row in kernels["rows"])
    assert [point["kind"] for point in report["curve"]] == ["given"] * 6 + ["found", "planned"]
    assert report["goals"]["case"] == "tiny@128"
    assert report["picture"] == "" and out.with_suffix(".png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "| FluxShard 50% work |" in printed and "| torch CUDA graph | not available: needs a GPU |" in printed


def test_the_benchmark_needs_a_gpu_or_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "torch finds no GPU: use --device emulated" in capsys.readouterr().err


def test_a_plan_as_a_module_is_its_definition() -> None:
    case = case_of("tiny", 96, place_of("emulated"))
    with torch.inference_mode():
        (expected,) = interpret(case.plan, case.weights, case.image)
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 5e-3)):
            module = gpu_dense.PlanModule(case.plan, case.weights, dtype)
            (out,) = module(case.image.to(dtype).to(memory_format=torch.channels_last))
            torch.testing.assert_close(out.float(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", ["yolo11n", "yolo11m"])
def test_detectors_as_modules_are_captured_in_one_graph(name: str) -> None:
    """What a compiler sees has no break, and islands run in halves as the rest does."""
    plan = load_plan(name, 640)
    module = gpu_dense.PlanModule(plan, seeded_weights(plan), torch.float16)
    assert set(module.islands.values()) == {torch.float16}
    captured = torch.export.export(module, (torch.zeros(1, 3, 640, 640, dtype=torch.float16),), strict=False)
    (leaf,) = captured.graph_signature.user_outputs
    assert leaf is not None and len(captured.graph.nodes) > len(plan.layers)


def test_a_contender_that_cannot_be_built_is_a_reason() -> None:
    def broken() -> gpu_dense.Contender:
        raise RuntimeError("no such thing\nand more")

    made = gpu_dense.attempt("other", broken)
    assert made.run is None and made.reason == "RuntimeError: no such thing"
    case = case_of("tiny", 64, place_of("emulated"))
    module = gpu_dense.PlanModule(case.plan, case.weights, torch.float16)
    for build in (gpu_dense.onnxruntime, gpu_dense.tensorrt):
        assert "not available" in build(module, case.image).reason
    assert gpu_dense.compile_ahead("yolo11n", 640, "max-autotune", 5)[0] == "skipped: no time left"


def test_ratios_are_of_one_round() -> None:
    assert ratio(Times(ms=[1, 4, 30]), Times(ms=[1, 2, 10])) == 2
    assert gpu_frames.difference([torch.tensor([1.0, float("nan")])], [torch.ones(2)]) == float("inf")


def test_nothing_is_imported_that_a_bare_machine_lacks() -> None:
    """Tests on a GPU and benchmarks need torch, numpy, jinja2 and pytest, nothing of what videos and models need."""
    script = f"""
        import importlib, pathlib, sys

        sys.modules |= dict.fromkeys({MISSING!r})
        found = [*pathlib.Path("tests/gpu").glob("*.py"), *pathlib.Path("benchmarks").glob("gpu*.py")]
        for path in found:
            if path.stem != "__init__":
                importlib.import_module(".".join(path.with_suffix("").parts))
        import fluxshard, torch
        net = torch.nn.Conv2d(3, 4, 3)
        model = fluxshard.compile(net, torch.zeros(1, 3, 8, 8), options=fluxshard.CompileOptions(backend="reference"))
        with model.session() as session:
            session.run(torch.zeros(1, 3, 8, 8))
        print(len(found))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 15


def test_settings_are_read_where_pytest_timeout_is_not_installed() -> None:
    """pytest begins with tests/gpu on a machine that has pytest and pytest-xdist alone."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/gpu/test_networks.py", "-q", "-p", "xdist", "-n", "2"], cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CUDA_VISIBLE_DEVICES": ""}, capture_output=True,
        text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "no CUDA device" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
