"""Many replays: every entrant on every link, in one process or several."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.trials import ENTRANTS, OPTIMUM, Entrant, TrialOptions, run_trials, spread
from tests.unit.evaluate.offload.content.recordings import recording

LINKS = {"slow": [LinkTrace("a", (0.1,))], "fast": [LinkTrace("b", (50.0,)), LinkTrace("c", (50.0, 0.0))]}
OPTIONS = TrialOptions(
    seconds=2.0, payloads=("raw", "bitstream"), entrants=(ENTRANTS[0], ENTRANTS[1]), with_optimum=False
)


def test_every_entrant_runs_on_every_link() -> None:
    done: list[tuple[int, int]] = []
    outcomes = run_trials(LINKS, [recording()], OPTIONS, on_done=lambda one, count: done.append((one, count)))
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert {key: len(streams) for key, streams in outcomes.items()} == {
        (tier, payload, name): len(LINKS[tier])
        for tier in LINKS
        for payload in ("raw", "bitstream")
        for name in ("always edge", "always cloud")
    }
    slow, fast = (outcomes[tier, "raw", "always edge"][0].latencies_ms for tier in LINKS)
    np.testing.assert_array_equal(slow, fast)
    assert (
        outcomes["slow", "raw", "always cloud"][0].latencies_ms.mean()
        > outcomes["fast", "raw", "always cloud"][0].latencies_ms.mean()
    )


def test_the_optimum_is_an_entrant_of_its_own() -> None:
    options = TrialOptions(seconds=1.0, payloads=("raw",), entrants=ENTRANTS)
    outcomes = run_trials({"fast": LINKS["fast"][:1]}, [recording()], options)
    assert {name for _, _, name in outcomes} == {OPTIMUM, *(entrant.name for entrant in ENTRANTS)}
    means = {name: streams[0].latencies_ms.mean() for (_, _, name), streams in outcomes.items()}
    assert means[OPTIMUM] <= means["greedy oracle"] + 0.06


def test_clips_take_turns_and_processes_give_the_same() -> None:
    other = recording(name="other", work=0 * recording().work)
    alone, several = (run_trials(LINKS, [recording(), other], OPTIONS, workers=workers) for workers in (1, 2))
    for key, streams in alone.items():
        for one, two in zip(streams, several[key], strict=True):
            np.testing.assert_array_equal(one.latencies_ms, two.latencies_ms)
    first, second = (stream.latencies_ms[-1] for stream in alone["fast", "raw", "always edge"])
    assert first > second


def test_traces_are_spread_over_their_order() -> None:
    traces = [LinkTrace(str(number), (1.0,)) for number in range(7)]
    assert [trace.name for trace in spread(traces, 3)] == ["0", "2", "4"]
    assert spread(traces, 9) == traces


def test_what_cannot_be_tried() -> None:
    with pytest.raises(EvaluationError, match="0 clips"):
        run_trials(LINKS, [], OPTIONS)
    for names in (("a", "a"), (OPTIMUM,)):
        entrants = tuple(Entrant(name=name, strategy="edge") for name in names)
        with pytest.raises(EvaluationError, match="unique names"):
            run_trials(LINKS, [recording()], TrialOptions(entrants=entrants))
