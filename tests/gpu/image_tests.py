"""The image test of planned reuse on a device: decisions are the definition's, bit for bit."""

from __future__ import annotations

import sys

from fluxshard.options import PlannedOptions
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from tests.gpu.place import CUDA, Place
from tests.host.shard_streams import CASES, run_alike


def options(seed: int) -> PlannedOptions:
    """Thresholds and times of all kinds."""
    return PlannedOptions(
        tau=[0.0, 0.01, 0.03, 0.06][seed % 4], tau_background=[None, 0.1][seed % 2], tau_stray=[0.02, 0.1][seed % 2],
        wait_frames=seed % 3, refresh_frames=[0, 5][seed % 2], hold_frames=seed % 4, margin_px=[8, 20, 300][seed % 3],
        candidates=seed % 6 != 5, pixel_range=[(0.0, 1.0), (-1.0, 1.0), (-2.118, 2.64)][seed % 3],
    )  # fmt: skip


def decides_alike(place: Place, name: str, seed: int, n: int = 6) -> int:
    """Masks, motion, cells and counts of a stream's frames; returns how many there were."""
    case, chosen = CASES[name], options(seed)
    levels = case.thresholds(chosen)
    defined = ReferenceImageTest(case.grids[0], levels, case.grids, chosen)
    return len(run_alike(case, chosen, seed, (defined, place.image_test(case, chosen)), n))


if __name__ == "__main__":
    print(sum(decides_alike(CUDA, name, seed) for name in sys.argv[1:] for seed in range(2)), "frames")
