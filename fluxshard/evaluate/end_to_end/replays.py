"""All replays of an evaluation: every method on every link; each link's streams are stored when they are done."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxshard.evaluate.end_to_end.content.material import Material, content_of, repeats_of
from fluxshard.evaluate.end_to_end.entrants import ENTRANTS, GREEDY, OPTIMUM, TOGETHER, Entrant, entrant, taking_part
from fluxshard.evaluate.end_to_end.records import StreamRecord, load_records, save_records
from fluxshard.evaluate.end_to_end.settings import Role
from fluxshard.evaluate.end_to_end.workload import Workload
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.optimum import optimum
from fluxshard.evaluate.offload.replay import Replayed, replay, replay_together
from fluxshard.evaluate.offload.scenario import LinearCurve, Scenario

FOLDER = "replays"
FORMAT = 2
CAPTURED_FPS = 30.0
PERIOD_MS = 1000 / CAPTURED_FPS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What all replays have in common.

    Attributes:
      workload: devices.
      seconds: of every link that are replayed.
      pre_ms: before a frame is placed.
      one_way_ms: propagation.
      advance_ms: to move a result to the next frame.
      similarity: from which SSIM on COACH repeats.
      optimum_links: links per tier for which the oracles are found too; they take most of the time.
      edges: numbers of edges that share an uplink.
      together_tiers: where they do.
      ablated: with the ablations that need results of their own.
    """

    workload: Workload
    seconds: float = 40.0
    pre_ms: float = 8.0
    one_way_ms: float = 20.0
    advance_ms: float = 1.0
    similarity: float = 0.95
    optimum_links: int = 20
    edges: tuple[int, ...] = (1, 2, 3, 8)
    together_tiers: tuple[str, ...] = ("medium",)
    ablated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinkTask:
    """One link with all methods.

    Attributes:
      tier: of the link.
      number: within the tier; clips take turns by it.
      link: the link.
      materials: all clips, the stream's own first.
      slopes: of `work_slope`, by role.
      options: what all replays have in common.
    """

    tier: str
    number: int
    link: LinkTrace
    materials: tuple[Material, ...]
    slopes: Mapping[Role, float]
    options: ReplayOptions


Records = dict[str, StreamRecord]


def edges_name(name: str, edges: int, number: int) -> str:
    """Under which name the stream of one of several edges is stored."""
    return f"{name} | {edges} edges, {number}"


def run_replays(
    tasks: Sequence[LinkTask],
    out: Path,
    *,
    facts: Mapping[str, Any],
    workers: int = 1,
    on_done: Callable[[str], None] = lambda _line: None,
) -> list[Records]:
    """Replays what has not been replayed yet.

    Args:
      tasks: links.
      out: directory of the evaluation.
      facts: what materials depend on, for the names of files.
      workers: number of processes; 1 takes this one.
      on_done: told one line per link.

    Returns:
      records by name, in the order of the tasks.

    Raises:
      EvaluationError: stored replays are damaged.
    """
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / _name(task, facts) for task in tasks]
    missing = [(task, path) for task, path in zip(tasks, paths, strict=True) if not path.exists()]
    for done, (task, path, records) in enumerate(_map(missing, workers)):
        save_records(path, records)
        on_done(f"{task.tier}: {task.link.name}: {done + 1} of {len(missing)} links")
    return [load_records(path) for path in paths]


def _name(task: LinkTask, facts: Mapping[str, Any]) -> str:
    body = [FORMAT, facts, task.link.mbps, task.options, task.number, [repr(one) for one in ENTRANTS], TOGETHER]
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=repr).encode()).hexdigest()[:12]
    return f"{task.tier}-{task.number:02d}-{digest}.npz"


def _map(tasks: Sequence[tuple[LinkTask, Path]], workers: int) -> Iterator[tuple[LinkTask, Path, Records]]:
    if workers <= 1 or len(tasks) < 2:
        yield from ((task, path, run_link(task)) for task, path in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context) as pool:
        running: dict[Future[Records], tuple[LinkTask, Path]] = {
            pool.submit(run_link, task): (task, path) for task, path in tasks
        }
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield (*running.pop(future), future.result())


def run_link(task: LinkTask) -> Records:
    """All methods on one link."""
    options, records = task.options, {}
    for one in taking_part(ablated=options.ablated):
        wanted = one.kind != "oracle" or task.number < options.optimum_links
        if one.strategy is not None and wanted:
            records[one.name] = StreamRecord.of(replay(scenario_of(task, one), one.strategy, one.rules))
    if task.number < options.optimum_links:
        for one in (each for each in ENTRANTS if each.strategy is None):
            greedy = records[one.name.replace(OPTIMUM, GREEDY)]
            found = optimum(scenario_of(task, one), float(greedy.latency_ms.mean()))
            records[one.name] = StreamRecord.of(Replayed(answered=found, sent_bytes=0.0, spare_bytes=0.0))
    if task.tier in options.together_tiers:
        for name in TOGETHER:
            one = entrant(name)
            assert one.strategy is not None
            for edges in options.edges:
                scenarios = [scenario_of(task, one, camera, edges) for camera in range(edges)]
                for camera, stream in enumerate(replay_together(scenarios, one.strategy, one.rules)):
                    records[edges_name(name, edges, camera)] = StreamRecord.of(stream)
    return records


def scenario_of(task: LinkTask, one: Entrant, camera: int = 0, edges: int = 1) -> Scenario:
    """A method on a link.

    Args:
      task: link and clips.
      one: the method.
      camera: which of several edges; each has another clip, and captures at another moment.
      edges: how many there are.
    """
    options = task.options
    material = task.materials[camera % len(task.materials)]
    content = content_of(material, one, task.slopes.get(one.role, 0.0))
    workload = options.workload
    return Scenario(
        link=task.link, content=content, edge_ms=whole(workload.edge) if one.dense else workload.edge,
        cloud_ms=whole(workload.server) if one.dense else workload.server,
        frames=max(1, round(options.seconds * CAPTURED_FPS)), pre_ms=options.pre_ms, one_way_ms=options.one_way_ms,
        period_ms=PERIOD_MS, repeats=repeats_of(material, one, content, options.similarity),
        repeat_ms=options.advance_ms if one.role == "carried" else 0.0, offset_ms=camera * PERIOD_MS / edges,
        joules=workload.energy.joules,
    )  # fmt: skip


def whole(curve: LinearCurve) -> LinearCurve:
    """A device that runs the dense network, whatever the work."""
    return LinearCurve(curve.base_ms + curve.slope_ms, 0.0)


def turned(materials: Sequence[Material], number: int) -> tuple[Material, ...]:
    """The clips, beginning with that of a link's number."""
    first = number % len(materials)
    return (*materials[first:], *materials[:first])
