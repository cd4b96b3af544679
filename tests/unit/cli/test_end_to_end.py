"""`fluxshard evaluate end-to-end`: what its flags mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxshard.cli import main
from fluxshard.cli.end_to_end import TIERS, _chosen, _counts, _factors, _known
from fluxshard.errors import OptionError
from fluxshard.evaluate.data.clips import Clip


def test_numbers_of_edges_begin_with_one() -> None:
    assert _counts("1, 2,8") == (1, 2, 8) and _counts("3") == (1, 3) and _counts("2,2") == (1, 2)
    for text in ("", "two", "1.5", "-1", "0"):
        with pytest.raises(OptionError, match="--edges"):
            _counts(text)


def test_clips_are_known() -> None:
    found = [Clip(name, Path(name)) for name in ("cows", "bear", "dog")]
    assert _chosen(None, found) == tuple(found)
    assert [clip.name for clip in _chosen("dog, cows", found)] == ["cows", "dog"]
    for text in ("", "cats"):
        with pytest.raises(OptionError, match=r"--clips.*cows, bear, dog"):
            _chosen(text, found)


def test_kinds_of_links_are_known() -> None:
    there = TIERS.split(",")
    assert _known("--tiers", "low, uplink", there) == ("low", "uplink")
    for text in ("", "lower"):
        with pytest.raises(OptionError, match=r"--tiers.*low,medium,high,uplink"):
            _known("--tiers", text, there)


def test_factors_are_numbers() -> None:
    assert _factors("16, 1,16") == (16.0, 1.0)
    with pytest.raises(OptionError, match=r"--slowdown \(='16,fast'\)"):
        _factors("16,fast")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seconds", "0"], "--seconds"),
        (["--replay", "--seconds", "-1"], "--seconds"),
        ([], "link traces"),
        (["--replay"], "link traces"),
    ],
)
def test_what_is_asked_for_first(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--data", "a.mp4", "--model", "m.pt", "--traces", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "end-to-end", *places, *flags])
    assert stopped.value.code in (1, 2) and said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
