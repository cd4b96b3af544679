"""Fixtures and settings that every test shares."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Test processes share the cores: a thread that waits must sleep, or each parallel region costs milliseconds.
# Two threads on any machine, so that parallel code runs in parallel. OpenMP reads this when torch loads it.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# Two processes are compared bit for bit, and what MKL sums depends on how many threads it takes: left alone, as many as
# there are cores without hyperthreads, until somebody calls torch.set_num_threads.
os.environ.setdefault("MKL_DYNAMIC", "FALSE")
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # C-core tells of every server that a test stops

import pytest

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("unit", "host", "cuda", "models", "laws", "offload", "gpu")
# modules whose tests take longest: they begin, so that no process is left with one of them when the others are done
LONG = (
    "offload/test_two_processes.py", "models/test_end_to_end_live.py", "models/test_end_to_end.py",
    "models/test_experiment.py", "models/test_yolo_predictor.py", "models/test_recipes.py",
    "models/test_saved_models.py", "offload/test_cluster_processes.py", "cuda/test_sanitized.py",
    "cuda/test_gpu_session.py", "cuda/test_cubins.py", "cuda/test_yolo_emulated.py",
)  # fmt: skip

with suppress(ModuleNotFoundError):  # a machine that is there for tests/gpu may have neither of them
    import matplotlib

    matplotlib.use("agg")
with suppress(ModuleNotFoundError):
    from hypothesis import settings

    settings.register_profile("ci", deadline=None, derandomize=True, database=None)
    settings.register_profile("search", deadline=None, max_examples=1000)  # looks for new counterexamples
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with the directory that it is in, skips what this machine cannot run, and puts `LONG` first.

    Every process has to find the same order.
    """
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    for item in items:
        kind = item.path.relative_to(ROOT / "tests").parts[0]
        if kind in KINDS:
            item.add_marker(kind)
        if compiler is None and (kind == "host" or item.get_closest_marker("requires_compiler")):
            item.add_marker(pytest.mark.skip(reason="no C++ compiler: install g++ or set CXX"))
        if kind == "gpu" and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Videos, weights and images that are too large for the repository; the test is skipped where there are none."""
    path = Path(os.environ.get("FLUXSHARD_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no test data in {path}: set FLUXSHARD_DATA to a directory that has weights/ and videos/")
    return path


@pytest.fixture(scope="session", autouse=True)
def _private_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the tests out of the user's caches; test processes share one kernel cache, so a kernel is built once.

    So do the pytests that tests start: they find it in FLUXSHARD_SUITE_KERNELS. What they know of xdist is inherited:
    they are no workers, and the directory above theirs belongs to no run.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    kernels = os.environ.get("FLUXSHARD_SUITE_KERNELS") or str(shared / "kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLUXSHARD_SUITE_KERNELS", kernels)
        patch.setenv("FLUXSHARD_CACHE_DIR", kernels)
        patch.setenv("YOLO_CONFIG_DIR", str(base))
        patch.setenv("YOLO_OFFLINE", "true")
        patch.setenv("YOLO_AUTOINSTALL", "false")
        patch.setenv("MPLCONFIGDIR", str(base))
        yield


@pytest.fixture(autouse=True)
def _threads_stay_as_they_are() -> Iterator[None]:
    """What predicts with ultralytics leaves torch one thread less than there are processors, for all tests after it."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else None
    yield
    if torch is not None and before is not None and torch.get_num_threads() != before:
        torch.set_num_threads(before)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
