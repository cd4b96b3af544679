"""Which figures the evaluated methods allow, and example pictures of a detector of known results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.method_sets import NamedThresholdProfile
from fluxshard.evaluate.report import figures
from fluxshard.evaluate.report.figures import draw_examples, draw_figures
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile
from fluxshard.testing.networks import bright_model
from tests.unit.evaluate.report.scores import clip_scores, evaluation


def scores_of(*methods: tuple[str, str]) -> list:
    """Scores of the dense network and of methods (name, family), each with the numbers of one that was made up."""
    made_up = evaluation()
    scores = [entry for entry in made_up if entry.method == "dense"]
    for name, family in methods:
        scores += [
            replace(entry, method=name, facts={"family": family}) for entry in made_up if entry.method == "frontier@3%"
        ]
    return scores


def drawn(folder: Path, *methods: tuple[str, str]) -> list[str]:
    made = draw_figures(scores_of(*methods), folder, "jaccard")
    for figure in made:
        with Image.open(figure.picture) as image:
            assert min(image.size) > 300 and figure.title
    return [Path(figure.picture).stem for figure in made]


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ([], []),
        ([("skip every=2", "skip")], ["frontier", "frontier_ms"]),
        ([("deltacnn tau=1", "deltacnn")], ["frontier", "frontier_ms", "motion", "latency"]),
        (
            [("p", "propagated"), ("p w/o RFAP", "ablation"), ("p w/o remap", "ablation")],
            ["frontier", "frontier_ms", "motion", "naive", "remap", "latency"],
        ),
        ([("planned@1%", "planned")], ["frontier", "frontier_ms", "motion", "latency", "worst"]),
    ],
)
def test_methods_decide_which_figures_are_drawn(
    methods: list[tuple[str, str]], expected: list[str], tmp_path: Path
) -> None:
    assert drawn(tmp_path / "new", *methods) == expected
    assert {path.stem for path in (tmp_path / "new").iterdir()} == set(expected)


def test_the_worst_clip_is_the_one_of_the_smallest_retained_fraction(tmp_path: Path) -> None:
    """Both lose 0.1 of J; on `cows`, where dense has less, that is more. Clips without J lose nothing."""
    scores = scores_of(("planned@1%", "planned"))
    dense = {entry.clip: entry.jaccard for entry in scores if entry.method == "dense"}
    scores = [
        replace(entry, jaccard=dense[entry.clip] - 0.1) if entry.method == "planned@1%" else entry for entry in scores
    ]
    scores += [clip_scores("none", method, jaccard=None) for method in ("dense", "planned@1%")]
    (worst,) = [one for one in draw_figures(scores, tmp_path, "jaccard") if Path(one.picture).stem == "worst"]
    assert worst.title == "Accuracy over the frames of cows"


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Four pictures over a texture in which a bright square moves by 8 px."""
    folder = tmp_path / "street"
    folder.mkdir()
    texture = np.random.default_rng(0).integers(0, 80, (32, 48, 3)).astype(np.uint8)
    for index in range(4):
        picture = texture.copy()
        picture[8:16, 8 * index : 8 * index + 8] = 250
        Image.fromarray(picture).save(folder / f"{index}.png")
    return Clip("street", folder)


def test_an_example_per_clip_with_the_profile_that_is_reported_on_it(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "load", lambda *_: bright_model())
    setup = Setup(weights=Path("bright.pt"), size="32x48", backend="reference")

    def profile(reuse: ReuseOptions) -> ThresholdProfile:
        return ThresholdProfile(reuse=reuse, canvas_px=0, network="n", weights="w")

    # takes every frame for a scene cut
    dense = ReuseOptions(policy="planned", scene_cut=1e-9, planned=PlannedOptions(tau=0.0, refresh_frames=1))
    named = [
        NamedThresholdProfile("propagated", profile(ReuseOptions())),
        NamedThresholdProfile("elsewhere", profile(ReuseOptions(policy="planned")), frozenset(("other",))),
        NamedThresholdProfile("dense again", profile(dense), frozenset(("street",))),
    ]
    (example,) = draw_examples([clip], setup, named, tmp_path / "new")
    assert example.caption.startswith("street, dense again: frame 3, ") and "100% of the dense work" in example.caption
    with Image.open(example.picture) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (32, 48, 3) and pixels.std() > 10
    (example,) = draw_examples([clip], setup, named[:2], tmp_path / "new")
    assert example.caption.startswith("street, shipped thresholds: frame 3, ")
    (example,) = draw_examples([clip], replace(setup, max_frames=2), [], tmp_path / "new")
    assert "frame 1, " in example.caption
    assert draw_examples([], setup, named, tmp_path / "none") == [] and not (tmp_path / "none").exists()
