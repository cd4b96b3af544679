"""Many replays: every entrant on every link with every payload, over several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.content.recorded_content import PAYLOADS, RecordedContent, RecordedPayload
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.measures import StreamFigures, stream_figures
from fluxshard.evaluate.offload.optimum import optimum
from fluxshard.evaluate.offload.replay import Replayed, Strategy, replay
from fluxshard.evaluate.offload.scenario import SERVER, XAVIER_NX_POSE, Curve, Rules, Scenario

OPTIMUM = "optimum"
CAPTURED_FPS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A strategy with its rules.

    Attributes:
      name: in tables.
      strategy: who decides.
      rules: how the rest behaves.
    """

    name: str
    strategy: Strategy
    rules: Rules = field(default_factory=Rules)


ENTRANTS = (
    Entrant(name="always edge", strategy="edge"),
    Entrant(name="always cloud", strategy="cloud"),
    Entrant(name="paper", strategy="paper"),
    Entrant(name="hedged", strategy="hedged"),
    Entrant(name="hedged, warm", strategy="hedged+warm"),
    Entrant(name="hedged, warm; cut", strategy="hedged+warm", rules=Rules(lost_uploads="cut")),
    Entrant(name="hedged, warm; waits", strategy="hedged+warm", rules=Rules(waits_for_edge=True)),
    Entrant(name="both always", strategy="both"),
    Entrant(name="greedy oracle", strategy="oracle"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOptions:
    """What all trials have in common.

    Attributes:
      seconds: of every link that are replayed.
      payloads: that go up.
      entrants: that are compared.
      edge_ms, cloud_ms: latency of the endpoints.
      with_optimum: also finds the optimum, which takes most of the time.
    """

    seconds: float = 40.0
    payloads: tuple[RecordedPayload, ...] = PAYLOADS
    entrants: tuple[Entrant, ...] = ENTRANTS
    edge_ms: Curve = XAVIER_NX_POSE
    cloud_ms: Curve = SERVER
    with_optimum: bool = True


# figures of streams, one per link, by tier, payload and entrant
Outcomes = dict[tuple[str, RecordedPayload, str], list[StreamFigures]]


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    tier: str
    number: int
    link: LinkTrace
    content: RecordedContent
    options: TrialOptions


_Results = dict[tuple[RecordedPayload, str], StreamFigures]


def spread(traces: Sequence[LinkTrace], count: int) -> list[LinkTrace]:
    """As many traces as asked for, or all, evenly spread over their order."""
    count = min(count, len(traces))
    return [traces[index * len(traces) // count] for index in range(count)]


def run_trials(
    tiers: Mapping[str, Sequence[LinkTrace]],
    contents: Sequence[RecordedContent],
    options: TrialOptions,
    *,
    workers: int = 1,
    on_done: Callable[[int, int], None] = lambda _done, _all: None,
) -> Outcomes:
    """Replays every entrant on every link. Clips take turns: the first link of a tier gets the first clip, and so on.

    Args:
      tiers: links by tier.
      contents: recorded clips.
      options: what all trials have in common.
      workers: number of processes; 1 takes this one.
      on_done: called with the number of links done and of all links.

    Raises:
      EvaluationError: there are no clips, or names of entrants are not unique.
    """
    names = [entrant.name for entrant in options.entrants]
    if not contents or len({*names, OPTIMUM}) <= len(names):
        raise EvaluationError(f"{len(contents)} clips and entrants {names}: give clips, and entrants unique names")
    tasks = [
        _Task(tier, number, link, contents[number % len(contents)], options)
        for tier, links in tiers.items()
        for number, link in enumerate(links)
    ]
    found: dict[tuple[str, int], _Results] = {}
    for task, results in _map(tasks, workers):
        found[task.tier, task.number] = results
        on_done(len(found), len(tasks))
    outcomes: Outcomes = {}
    for task in tasks:
        for (payload, name), figures in found[task.tier, task.number].items():
            outcomes.setdefault((task.tier, payload, name), []).append(figures)
    return outcomes


def _map(tasks: Sequence[_Task], workers: int) -> Iterator[tuple[_Task, _Results]]:
    if workers <= 1:
        yield from ((task, _run(task)) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        running: dict[Future[_Results], _Task] = {pool.submit(_run, task): task for task in tasks}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()


def _run(task: _Task) -> _Results:
    """One link with every payload."""
    options, results = task.options, {}
    for payload in options.payloads:
        content = task.content.of(payload)
        scenario = Scenario(
            link=task.link, content=content, edge_ms=options.edge_ms, cloud_ms=options.cloud_ms,
            frames=max(1, round(options.seconds * CAPTURED_FPS)), period_ms=1000 / CAPTURED_FPS,
        )  # fmt: skip
        for entrant in options.entrants:
            stream = replay(scenario, entrant.strategy, entrant.rules)
            results[payload, entrant.name] = stream_figures(stream, scenario.period_ms)
        if options.with_optimum:
            greedy = replay(scenario, "oracle")
            start = float(np.mean([frame.latency_ms for frame in greedy.answered]))
            best = Replayed(answered=optimum(scenario, start), sent_bytes=0.0, spare_bytes=0.0)
            results[payload, OPTIMUM] = stream_figures(best, scenario.period_ms)
    return results
