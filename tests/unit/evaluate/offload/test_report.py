"""Tables, values and the picture of replays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fluxshard.errors import EvaluationError, OptionError
from fluxshard.evaluate.offload.measures import StreamFigures
from fluxshard.evaluate.offload.report import (
    against_oracle,
    as_json,
    details,
    draw_tails,
    overview,
    payload_and_predictor,
    pool,
)
from fluxshard.evaluate.offload.trials import Outcomes


def stream(*latencies_ms: float) -> StreamFigures:
    return StreamFigures(
        latencies_ms=np.array(latencies_ms), hedged=1, by_cloud=1, sent_bytes=2000.0, spare_bytes=500.0,
        age_ms2=1000.0, watched_ms=10.0,
    )  # fmt: skip


MEANS = {"always edge": 100.0, "always cloud": 60.0, "paper": 50.0, "hedged, warm": 45.0, "greedy oracle": 44.0,
         "optimum": 40.0}  # fmt: skip
OUTCOMES: Outcomes = {
    (tier, payload, name): [stream(mean + more - 1, mean + more + 1)]
    for tier in ("low", "high")
    for payload, more in (("raw", 100.0), ("packed", 0.0))
    for name, mean in MEANS.items()
}  # type: ignore[assignment]
FIGURES = pool(OUTCOMES)


def test_overview() -> None:
    table = overview(FIGURES, "packed")
    assert table.headings == ("packed", "low", "high") and len(table.rows) == len(MEANS)
    assert [cell.text for cell in table.rows[1]] == ["always cloud", *["60.0 / 61 / 61 / 61"] * 2]


def test_details_hold_regret_and_skill_against_both_oracles() -> None:
    table = details(FIGURES, "low", "packed")
    rows = {row[0].text: dict(zip(table.headings, row, strict=True)) for row in table.rows}
    warm = rows["hedged, warm"]
    assert warm["mean ms"].text == "45.0" and warm["hedged"].text == "50.00%" and warm["kB/frame"].text == "1.0"
    assert warm["spare"].text == "25.0%" and warm["age ms"].text == "100"
    assert warm["regret: greedy oracle"].text == "+1.00" and warm["regret: optimum"].text == "+5.00"
    assert warm["skill: greedy oracle"].text == "0.94" and warm["skill: optimum"].text == "0.75"
    assert rows["always cloud"]["skill: optimum"].text == "0.00"


def test_distance_from_the_oracle() -> None:
    table = against_oracle(FIGURES, "hedged, warm")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["raw", "+1.00 / 146", "+1.00 / 146"], ["packed", "+1.00 / 46", "+1.00 / 46"]
    ]  # fmt: skip


def test_payload_against_predictor() -> None:
    (row, _) = payload_and_predictor(FIGURES).rows
    assert [cell.text for cell in row] == ["low", "150.0", "50.0", "100.0", "6.00", "6.00"]


def test_plain_values() -> None:
    values = json.loads(json.dumps(as_json(FIGURES), allow_nan=False))
    assert len(values) == len(FIGURES)
    (warm,) = (
        one for one in values if (one["tier"], one["payload"], one["entrant"]) == ("low", "packed", "hedged, warm")
    )
    assert warm["mean_ms"] == 45 and warm["regret_ms"] == {"greedy oracle": 1, "optimum": 5}
    assert warm["skill"] == {"greedy oracle": pytest.approx(15 / 16), "optimum": 0.75}
    bare = as_json(pool({key: streams for key, streams in OUTCOMES.items() if key[2] == "paper"}))
    assert all(one["regret_ms"] == one["skill"] == {} for one in bare)


def test_without_an_oracle_there_is_no_regret() -> None:
    figures = pool({key: streams for key, streams in OUTCOMES.items() if key[2] == "paper"})
    assert not [heading for heading in details(figures, "low", "raw").headings if "regret" in heading]


def test_the_picture(tmp_path: Path) -> None:
    for suffix in (".png", ".svg"):
        path = draw_tails(OUTCOMES, tmp_path / f"tails{suffix}")
        assert path.stat().st_size > 1000
    with pytest.raises(OptionError, match="pictures are written as"):
        draw_tails(OUTCOMES, tmp_path / "tails.gif")


def test_nothing_to_report() -> None:
    with pytest.raises(EvaluationError, match="no trials"):
        pool({})
