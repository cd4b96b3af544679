"""The printed table: figures at shares of the work, and n/a where nothing was measured."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fluxshard.cli.profile.latency_table import latency_table
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.runtime.offload.latency_profile import LatencyProfile, Measured

MODEL = LatencyModel(base_ms=4.0, slopes_ms=(10.0, 30.0), knots=((4.0, 4.0), (44.0, 44.0)), error=0.042, samples=80)
PROFILE = LatencyProfile(
    measured=Measured(
        plan="p", weights="w", policy="planned", backend="cpp", dtype="float32", device="CPU 9000", threads=2,
        version="1",
    ),
    model=MODEL,
    facts={"keyframes": 7, "work": [0.0, 0.1, 0.2, 0.5, 1.0], "meter": "RAPL, 1 processor package"},
)  # fmt: skip


def text_of(profile: LatencyProfile, *reasons: str) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(latency_table(profile, reasons, "p.json, p.png"))
    return console.export_text()


def test_figures() -> None:
    text = text_of(PROFILE)
    for part in ("80, 7 of them keyframes; work 0% to 100%", "4.00 ms", "14.00 ms", "24.00 ms", "44.00 ms",
                 "median 4.2%", "CPU 9000, 2 threads, cpp", "p.json, p.png"):  # fmt: skip
        assert part in text
    assert "CPU 9000, GPU, cpp" in text_of(replace(PROFILE, measured=replace(PROFILE.measured, threads=0)))


@pytest.mark.parametrize(
    ("reasons", "said"),
    [(("RAPL: root only",), "n/a (RAPL: root only)"), ((), "n/a (the meter gave too few samples)")],
)
def test_energy_that_nobody_measured_is_not_0(reasons: tuple[str, ...], said: str) -> None:
    assert said in text_of(PROFILE, *reasons)


def test_energy() -> None:
    text = text_of(replace(PROFILE, energy_mj=replace(MODEL, base_ms=0.0, knots=((0.0, 0.0), (40.0, 400.0)))))
    assert "100 mJ at 25%, 200 mJ at 50%, 400 mJ at 100% (RAPL, 1 processor package)" in " ".join(text.split())
