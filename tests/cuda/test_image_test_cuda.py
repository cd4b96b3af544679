"""The image test of planned reuse as emulated kernels against its definition in numpy, bit for bit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from fluxshard.codegen.cpp.image_test import image_test_params
from fluxshard.codegen.cuda.emulate.loader import EmulatedLoader
from fluxshard.codegen.cuda.image_test import CudaImageTestProgram
from fluxshard.options import PlannedOptions
from fluxshard.runtime.engines.cuda_device import EmulatedDevice
from fluxshard.runtime.planned.cuda_image_test import CudaImageTest
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from tests.host.shard_streams import CASES, Case, run_alike


@cache
def program(case: Case) -> CudaImageTestProgram:
    levels = case.thresholds(PlannedOptions())
    params = image_test_params(case.grids[0], case.channels, levels, case.grids)
    return CudaImageTestProgram(params, len(case.grids), EmulatedLoader())


def both(case: Case, options: PlannedOptions) -> tuple[ReferenceImageTest, CudaImageTest]:
    levels = case.thresholds(options)
    defined = ReferenceImageTest(case.grids[0], levels, case.grids, options)
    return defined, CudaImageTest(program(case), EmulatedDevice(), levels, options)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(6))
def test_masks_are_those_of_the_definition(name: str, seed: int) -> None:
    options = PlannedOptions(
        tau=[0.0, 0.01, 0.03, 0.06][seed % 4], tau_background=[None, 0.1][seed % 2], tau_small=[None, 0.015][seed // 2 % 2],
        tau_stray=[0.02, 0.1][seed % 2], wait_frames=seed % 3, refresh_frames=[0, 5][seed % 2], hold_frames=seed % 4,
        margin_px=[0, 8, 20, 300][seed % 4], candidates=seed != 5,
        pixel_range=[(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.118, 2.64)][seed % 4],
    )  # fmt: skip
    run_alike(CASES[name], options, seed, both(CASES[name], options), n=5)
