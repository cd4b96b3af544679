"""The table of a latency profile that is printed at its end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.runtime.offload.latency_profile import LatencyProfile

SHARES = (0.0, 0.25, 0.5, 1.0)  # of the work


def latency_table(profile: LatencyProfile, reasons: Sequence[str], files: str) -> Table:
    """Lays a profile out for people.

    Args:
      profile: that was measured.
      reasons: why energy meters do not work, one line each.
      files: where it is.
    """
    model, facts = profile.model, profile.facts
    table = Table(show_header=False, title="Latency profile", title_style="bold", pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    least, *_, most = facts["work"]
    table.add_row("frames", f"{model.samples}, {facts['keyframes']} of them keyframes; work {least:.0%} to {most:.0%}")
    for share in SHARES:
        name = "latency without work" if share == 0 else f"at {share:.0%} of the work"
        table.add_row(name, f"{_at(model, share):.2f} ms")
    table.add_row("error on frames left out", f"median {model.error:.1%}")
    table.add_row("energy of a frame", _energy(profile, reasons))
    table.add_row("measured on", f"{profile.measured.device}, {_threads(profile)}, {profile.measured.backend}")
    table.add_row("files", files)
    return table


def _at(model: LatencyModel, share: float) -> float:
    """Latency where all kinds of work are alike."""
    return model.predict_ms((share,) * len(model.slopes_ms))


def _energy(profile: LatencyProfile, reasons: Sequence[str]) -> str:
    energy = profile.energy_mj
    if energy is None:
        return f"n/a ({'; '.join(reasons) or 'the meter gave too few samples'})"
    figures = ", ".join(f"{_at(energy, share):.0f} mJ at {share:.0%}" for share in SHARES)
    rest = "" if profile.rest_mw is None else f"; at rest {profile.rest_mw / 1e3:.1f} W"
    return f"{figures}{rest} ({profile.facts['meter']})"


def _threads(profile: LatencyProfile) -> str:
    count = profile.measured.threads
    return f"{count} thread{'s' if count != 1 else ''}" if count else "GPU"
