"""A small clip, and what all methods make of it, for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fluxshard.evaluate.end_to_end.content.material import Answers, Material
from fluxshard.evaluate.end_to_end.replays import LinkTask, ReplayOptions
from fluxshard.evaluate.end_to_end.settings import SETTINGS, methods_of
from fluxshard.evaluate.end_to_end.workload import POSE, Workload
from fluxshard.evaluate.offload.link_trace import LinkTrace
from tests.unit.evaluate.offload.content.recordings import AGES, FRAMES, recording

ROLES = tuple(methods_of(SETTINGS["seg"], 32))
FAST, FADING = LinkTrace("fast", (50.0,)), LinkTrace("fading", (50.0, 0.05))
LOSSES = {"jpeg": 0.1, "coach": 0.2, "planned": 0.02}
"""Of accuracy, where a method has one."""


def material(name: str = "clip", *, accuracy: float = 0.8, similar: float = 0.5) -> Material:
    """Ten frames of 8x8 pixels, see `recording`. Methods do half of the work, and carry every second frame.

    Args:
      name: of the clip.
      accuracy: of the dense network on every frame.
      similar: SSIM with frames before, whatever their age.
    """
    known = np.arange(FRAMES)[:, None] >= np.array(AGES)
    recorded = recording(name=name)
    pixels = replace(recorded, work=recorded.work[:, :, :1])
    answers = {
        role: Answers(
            compute=np.full(FRAMES, 1.0 if role in ("dense", "jpeg", "coach", "w/o sparse") else 0.5),
            accuracy=np.full(FRAMES, accuracy * (1 - LOSSES.get(role, 0.0))),
        )
        for role in ROLES
    }
    carried = np.where(np.arange(FRAMES) % 2, 0.0, 0.5)
    answers["carried"] = Answers(compute=carried, accuracy=answers["carried"].accuracy)
    return Material(
        name=name,
        recordings={role: recorded if role in ("planned", "carried") else pixels for role in ROLES[1:]},
        jpeg_bytes=np.full(FRAMES, 70.0),
        similarity=np.where(known, similar, np.nan),
        answers=answers,
        moved={age: np.full(FRAMES, accuracy * (1 - 0.1 * age)) for age in (1, 2, 4)},
    )


def options(workload: Workload = POSE, **changes: object) -> ReplayOptions:
    """A second of a link; up to three edges."""
    values: dict[str, object] = {"seconds": 1.0, "optimum_links": 1, "edges": (1, 3), "together_tiers": ("medium",)}
    return ReplayOptions(workload=workload, **(values | changes))  # type: ignore[arg-type]


def task(tier: str = "medium", number: int = 0, link: LinkTrace = FAST, **changes: object) -> LinkTask:
    """One link with one clip."""
    return LinkTask(
        tier=tier, number=number, link=link, materials=(material(), material("other")), slopes={},
        options=options(**changes),  # type: ignore[arg-type]
    )  # fmt: skip
