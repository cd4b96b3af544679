"""Which code a GPU gets, and what depends on its architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxshard.codegen.cuda.device import loader
from fluxshard.codegen.cuda.device.driver import DeviceInfo
from fluxshard.codegen.cuda.device.loader import GpuLoader, gpu_target
from fluxshard.errors import OptionError
from fluxshard.ir.kernel import CUDA_ARCHES, CudaTarget


@pytest.mark.parametrize(
    ("capability", "arch"),
    [
        ((7, 2), "sm_72"), ((7, 5), "sm_75"), ((8, 0), "sm_80"), ((8, 6), "sm_86"), ((8, 8), "sm_87"),
        ((8, 9), "sm_89"), ((9, 0), "sm_90"), ((10, 0), "sm_100"), ((10, 3), "sm_100"), ((11, 0), "sm_110"),
        ((12, 0), "sm_120"), ((12, 1), "sm_120"),
    ],
)  # fmt: skip
def test_a_gpu_gets_the_latest_code_of_its_major_number(capability: tuple[int, int], arch: str) -> None:
    assert CudaTarget.nearest(*capability, "float16").arch == arch


@pytest.mark.parametrize("capability", [(6, 1), (7, 0), (13, 0)])
def test_other_gpus_are_refused(capability: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match=r"compute capability .* kernels are generated for sm_72, .*, sm_120"):
        CudaTarget.nearest(*capability, "float16")


def device(capability: tuple[int, int], driver: tuple[int, int] = (12, 8)) -> DeviceInfo:
    return DeviceInfo(
        name="GPU", capability=capability, multiprocessors=4, memory_bytes=8 << 30, driver_version=driver
    )  # fmt: skip


def test_code_of_another_architecture_has_to_run_there() -> None:
    assert gpu_target(device((12, 1)), "native", "float16").arch == "sm_120"
    assert gpu_target(device((8, 9)), "sm_80", "float16").arch == "sm_80"
    for arch in ("sm_100", "sm_110", "sm_90"):
        with pytest.raises(OptionError, match="use 'sm_120'"):
            gpu_target(device((12, 0)), arch, "float16")


@pytest.mark.parametrize("arch", CUDA_ARCHES)
def test_every_architecture_has_numbers_of_its_own(arch: str) -> None:
    target = CudaTarget(arch=arch, dtype="float16")
    assert 8 <= target.multiprocessors <= 200 and target.shared_bytes >= 64 << 10
    assert target.math == {"sm_72": "ffma", "sm_75": "m16n8k8"}.get(arch, "m16n8k16")
    assert target.copies_async == (arch not in ("sm_72", "sm_75"))


@pytest.mark.parametrize(
    ("capability", "driver", "overlaps"),
    [((9, 0), (12, 8), True), ((12, 0), (13, 0), True), ((9, 0), (12, 2), False), ((8, 9), (13, 0), False)],
)
def test_kernels_overlap_where_the_gpu_and_its_driver_can(
    capability: tuple[int, int], driver: tuple[int, int], overlaps: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(loader, "device_of", lambda index: device(capability, driver))
    assert GpuLoader(0, "native", "float16", tmp_path).overlaps is overlaps
    monkeypatch.setenv("FLUXSHARD_NO_OVERLAP", "1")
    assert GpuLoader(0, "native", "float16", tmp_path).overlaps is False
