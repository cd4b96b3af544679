"""Methods on one clip, and what happens after a cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.content.material import Answers, Material
from fluxshard.evaluate.end_to_end.entrants import CARRIED, EDGE_ONLY, ENTRANTS, H264, OFFLOAD, PLANNED
from fluxshard.evaluate.end_to_end.extremes.clips import Extreme
from fluxshard.evaluate.end_to_end.extremes.replayed import ExtremeFigures, extreme_figures
from tests.unit.evaluate.end_to_end.materials import FAST, material, options

STILL = Extreme(clip=Clip("still", Path("still")), made_of=("cows",))
CUT = Extreme(clip=Clip("cut", Path("cut")), made_of=("cows", "dogs"), cut=7)


def cut_material() -> Material:
    """Whatever cache sees frame 7 of ten for the first time does all of the work; planned reuse loses half there."""
    clip = material()
    recorded = clip.recordings["planned"]
    work, packets = recorded.work.copy(), recorded.packet_bytes.copy()
    for frame in (7, 8, 9):
        for column, age in enumerate(recorded.ages):
            if frame - age < 7:
                work[frame, column] = 1.0
    packets[7] = 1000.0
    recorded = replace(recorded, work=work, packet_bytes=packets, key_bytes=recorded.key_bytes + 1000)
    accuracy = clip.answers["planned"].accuracy.copy()
    accuracy[7:10] *= np.array([0.4, 0.5, 0.6])
    answers = Answers(compute=clip.answers["planned"].compute, accuracy=accuracy)
    return replace(
        clip,
        recordings={**clip.recordings, "planned": recorded, "carried": recorded},
        answers={**clip.answers, "planned": answers},
    )


def played(clip: Extreme, seen: Material) -> dict[str, ExtremeFigures]:
    return {one.method: one for one in extreme_figures(clip, seen, "medium", [FAST], options(), {})}


def test_all_methods_are_there_but_ablations_and_oracles() -> None:
    found = played(STILL, material())
    assert list(found) == [one.name for one in ENTRANTS if one.kind in ("baseline", "FluxShard")]
    assert all(one.after is None for one in found.values())
    assert found[H264].figures.compute == 1 and found[PLANNED].figures.compute < 0.3
    assert found[PLANNED].as_values()["after_cut"] is None


def test_after_a_cut() -> None:
    found = played(CUT, cut_material())
    after = {name: one.after for name, one in found.items()}
    planned, offload, alone = after[PLANNED], after[OFFLOAD], after[EDGE_ONLY]
    assert planned is not None and offload is not None and alone is not None
    # frames 4 to 9 of the clip are replayed, over and over for a second
    assert planned.cuts == pytest.approx(5, abs=1) and planned.work == 1.0
    assert planned.kb == pytest.approx((1000 + 13) / 1e3) and offload.kb == pytest.approx(192 / 1e3)
    assert alone.kb is None and alone.cuts < planned.cuts
    assert planned.worst_ms >= planned.answer_ms >= 8 + 40 + 3 + 24.6
    assert planned.loss == pytest.approx(1 - 0.98 * 0.5) and offload.loss == pytest.approx(0)
    values = found[PLANNED].as_values()
    assert values["cut"] == 7 and values["after_cut"]["work"] == 1.0


def test_a_repeated_result_is_no_answer_of_the_new_scene() -> None:
    """Frames 5, 7 and 9 were carried: what repeats at the cut shows the old scene."""
    after = played(CUT, cut_material())[CARRIED].after
    assert after is not None and after.work == 1.0 and after.answer_ms > 8 + 40


def test_no_answer_before_the_clip_starts_over() -> None:
    found = extreme_figures(CUT, cut_material(), "medium", [FAST], options(seconds=0.1), {})
    after = next(one.after for one in found if one.method == EDGE_ONLY)
    assert after is not None and after.cuts == 0 and np.isnan(after.answer_ms) and np.isnan(after.work)
