"""Settings of the methods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fluxshard.evaluate.end_to_end.settings import SETTINGS, methods_of
from fluxshard.evaluate.end_to_end.workload import WorkloadName
from fluxshard.evaluate.methods.method import Reuse


@pytest.mark.parametrize("workload", ["seg", "pose"])
def test_methods_have_their_settings(workload: WorkloadName) -> None:
    settings = replace(SETTINGS[workload], scale=1.25, tau=0.03)
    methods = methods_of(settings, 32)
    planned, carried, delta = (methods[role] for role in ("planned", "carried", "deltacnn"))  # type: ignore[index]
    assert isinstance(planned, Reuse) and isinstance(carried, Reuse) and isinstance(delta, Reuse)
    assert planned.name == "planned x1.25" and planned.options == carried.options
    assert carried.skip.budget > planned.skip.budget == 0
    assert delta.options.tau_input == 0.03 and delta.motion == "none"
    moved = methods["motion-deltacnn"]
    assert isinstance(moved, Reuse) and moved.canvas_px == 32
