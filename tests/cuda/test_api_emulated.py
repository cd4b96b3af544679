"""Whole sessions on target "cuda", run by the emulator: against the dense net, and through the command line."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fluxshard
from fluxshard.cli import main
from fluxshard.cli.run.output_directory import OUTPUTS
from fluxshard.ir.plan import Plan
from fluxshard.options import DType
from fluxshard.runtime.engines.cuda import CudaEngine, CudaState
from fluxshard.runtime.engines.engine import Mask, StepCounts
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import EXACT, assert_same_decisions, check_against_dense
from fluxshard.video import VideoWriter
from tests.cuda.small_net import SIZE, SmallNet, small_net

pytestmark = pytest.mark.requires_compiler
KINDS = ("pan", "blocks", "garbage", "static", "cut")


def compiled(net: nn.Module, dtype: DType = "float32") -> fluxshard.CompiledModel:
    options = fluxshard.CompileOptions(backend="emulated", dtype=dtype)
    return fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=options, target="cuda")


@pytest.fixture(scope="module")
def net() -> SmallNet:
    return small_net()


@pytest.fixture(scope="module")
def model(net: SmallNet) -> fluxshard.CompiledModel:
    return compiled(net)


@pytest.fixture(scope="module")
def two_layers() -> nn.Module:
    """For kernels in half precision, of which there are fewer then."""
    net = small_net()
    return nn.Sequential(net.stem, nn.SiLU(), net.deep, nn.SiLU()).eval()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that pans over blocks by 4 px a frame, `6 x (64, 96)`."""
    path = tmp_path_factory.mktemp("film") / "pan.mp4"
    blocks = np.random.default_rng(3).integers(0, 256, (8, 20, 3), dtype=np.uint8)
    scene = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    with VideoWriter(path, (64, 96), 25.0) as writer:
        for index in range(6):
            writer.write(np.ascontiguousarray(scene[:, 4 * index : 4 * index + 96]))
    return path


# ---- sessions


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_is_the_dense_net(net: SmallNet, model: fluxshard.CompiledModel, kind: str) -> None:
    assert model.backend == "emulated" and model.device == torch.device("cpu")
    assert {layer.op for layer in model.plan.layers} >= {
        "conv2d",
        "conv_transpose2d",
        "upsample_nearest",
        "cat",
        "island",
    }
    with model.session(EXACT) as session:
        seen = list(check_against_dense(net, session, frames(kind, SIZE, 5, 1)))
        assert session.state_bytes > 0
    assert seen[0].keyframe and not any(stats.keyframe for stats in seen[1:])
    assert [stats.motion_source for stats in seen] == ["none"] + 4 * ["given"]
    if kind == "static":
        assert all(stats.recompute_ratio < 1 and stats.compute_ratio < 1 for stats in seen[1:])


def test_a_session_without_remapping_is_the_reference(net: SmallNet, model: fluxshard.CompiledModel) -> None:
    """Also where the work of all grids is given, which is another order of launches."""
    options = fluxshard.CompileOptions(backend="reference")
    reference = fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=options)
    reuse = fluxshard.ReuseOptions(remap=False, input="fresh", scene_cut=1.0)
    rng = np.random.default_rng(2)
    with model.session(reuse) as a, reference.session(reuse) as b:
        for index, (image, motion) in enumerate(frames("blocks", SIZE, 9, 4)):
            work = {i: rng.random((g.height, g.width)) < 0.4 for i, g in enumerate(model.plan.grids)}
            given = [work, {}, {0: work[0]}, work, work, {}][index % 6]
            assert_same(a.run_with_work(image, motion, given), b.run_with_work(image, motion, given))
            assert_same_decisions(a, b, model.plan, False)


def test_statistics_are_fetched_when_they_are_read(
    model: fluxshard.CompiledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    counts = CudaEngine._counts

    def counting(engine: CudaEngine, stream: CudaState, total_ms: float) -> StepCounts:
        calls.append(stream)
        return counts(engine, stream, total_ms)

    monkeypatch.setattr(CudaEngine, "_counts", counting)
    with model.session(EXACT) as session:
        for index, (image, motion) in enumerate(frames("blocks", SIZE, 3, 2)):
            session.run(image, motion)
            assert len(calls) == index
            stats = session.stats
            assert len(calls) == index + 1 and session.stats is stats
            assert stats.frame == index and stats.keyframe == (index == 0) and stats.latency_ms > 0
        session.run(image)
        session.run(image)
        assert len(calls) == 3 and session.stats.frame == 4 and session.stats.layers_executed == 0


def test_sessions_in_two_threads_do_not_meet(net: SmallNet, model: fluxshard.CompiledModel) -> None:
    failures: list[BaseException] = []

    def stream(seed: int) -> None:
        try:
            with model.session(EXACT) as session:
                list(check_against_dense(net, session, frames("blocks", SIZE, 8, seed)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=stream, args=(seed,)) for seed in (5, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_half_precision_is_close_to_single(two_layers: nn.Module) -> None:
    half, single = compiled(two_layers, "float16"), compiled(two_layers)
    with half.session(EXACT) as small, single.session(EXACT) as large:
        for image, motion in frames("blocks", SIZE, 4, 3):
            got, expected = small.run(image, motion), large.run(image, motion)
            assert got.dtype == torch.float32 and not torch.equal(got, expected)
            assert_same(got, expected, 1e-2)
        assert small.state_bytes < large.state_bytes


# ---- one stream, two orders of launches

HOW = ("values", "all cells", "these cells", "some grids", "reset")


def work_of(plan: Plan, session: fluxshard.Session) -> dict[int, Mask]:
    """Cells that a frame has to recompute: on each grid, those that any layer did."""
    work = {i: np.zeros((grid.height, grid.width), np.bool_) for i, grid in enumerate(plan.grids)}
    seen = session.inspect()
    work[0] |= seen.input_mask()
    for layer in plan.layers:
        for name in layer.outputs:
            grid, mask = plan.value(name).grid, seen.mask(name)
            candidates = seen.candidates(layer.name) if layer.mode == "sparse" else mask
            if grid is not None and candidates is not None:
                work[grid] |= candidates
    return work


@settings(max_examples=30)
@given(
    hows=st.lists(st.sampled_from(HOW), min_size=2, max_size=7),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
)
def test_given_work_and_values_take_turns(
    hows: list[str], kind: str, seed: int, net: SmallNet, model: fluxshard.CompiledModel
) -> None:
    """A second session, which follows the values, says which cells are work; whoever is told them stays exact."""
    rng = np.random.default_rng(seed)
    with model.session(EXACT) as session, model.session(EXACT) as guide, torch.inference_mode():
        for (image, motion), how in zip(frames(kind, SIZE, len(hows), seed), hows, strict=True):
            guide.run(image, motion)
            work = work_of(model.plan, guide)
            if how == "reset":
                session.reset()
            if how in ("values", "reset"):
                out = session.run(image, motion)
            else:
                if how == "all cells":
                    work = {i: np.ones_like(mask) for i, mask in work.items()}
                elif how == "some grids":
                    work = {i: mask for i, mask in work.items() if rng.random() < 0.5}
                out = session.run_with_work(image, motion, work)
            assert_same(out, net(image))


# ---- the command line


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


def test_a_film_through_the_command_line(
    net: SmallNet, model: fluxshard.CompiledModel, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, out = tmp_path / "net.pt2", tmp_path / "out"
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, *SIZE),)), program)
    arguments = ("run", film, "--model", program, "--out", out, "--device", "cuda", "--backend", "emulated")
    code, text, error = run(capsys, *arguments, "--compare", "dense", "--show-reuse")
    assert (code, error) == (0, "")
    assert "emulator" in text and "approximate" in text
    assert sorted(path.name for path in out.iterdir()) == sorted(OUTPUTS)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["complete"] and summary["frames"] == 6 and summary["network_size"] == list(SIZE)
    assert (summary["backend"], summary["device"], summary["dtype"]) == ("emulated", "cpu", "float32")
    assert summary["compute_ratio"]["mean"] < 1 and summary["latency_ms"]["dense"]["median"] > 0
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert lines[0]["keyframe"] and lines[0]["max_difference"] < 1e-4
    assert {tuple(output["shape"]) for output in lines[3]["outputs"]} == {(1, 4, *SIZE), (1, 16)}


def test_half_precision_through_the_command_line(
    two_layers: nn.Module, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, out = tmp_path / "net.pt2", tmp_path / "out"
    torch.export.save(torch.export.export(two_layers, (torch.zeros(1, 3, *SIZE),)), program)
    exact = [
        "--policy",
        "propagated",
        "--tau-input",
        "0",
        "--tau",
        "0",
        "--rfap",
        "per_layer",
        "--input",
        "fresh",
        "--dtype",
        "float16",
    ]
    arguments = ("run", film, "--model", program, "--out", out, "--device", "cuda:0", "--backend", "emulated", *exact)
    code, text, error = run(capsys, *arguments, "--compare", "dense", "--max-frames", 3)
    assert (code, error) == (0, "") and "rounding to float16" in text
    summary = json.loads((out / "summary.json").read_text())
    assert summary["dtype"] == "float16" and 0 < summary["agreement"]["max_difference"] < 0.05


@pytest.mark.parametrize("policy", ["planned", "propagated"])
def test_bytes_are_floats(model: fluxshard.CompiledModel, policy: str) -> None:
    """Masks, work and outputs of pictures are, bit for bit, those of the floats that they stand for."""
    reuse = fluxshard.ReuseOptions(policy="planned", scene_cut=1.0) if policy == "planned" else EXACT
    with model.session(reuse) as given, model.session(reuse) as expected:
        for image, motion in frames("blocks", SIZE, 4, 5):
            picture = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            wanted = expected.run(torch.from_numpy(picture).permute(2, 0, 1)[None].to(torch.float32) / 255, motion)
            assert_same(given.run(picture, motion), wanted, tolerance=0.0)
            assert np.array_equal(given.counted.candidates, expected.counted.candidates)
            assert np.array_equal(given.recompute_mask(), expected.recompute_mask())
