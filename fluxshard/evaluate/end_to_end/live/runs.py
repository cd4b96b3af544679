"""All runs of an evaluation over links, one after the other; what is there is not run again."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fluxshard.cloud.link_emulation.emulated_link import EmulatedLink
from fluxshard.cloud.link_emulation.open_link import open_link
from fluxshard.cloud.link_emulation.packet_link import PacketLink
from fluxshard.cloud.security.site import make_site
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.live.answers import Answers
from fluxshard.evaluate.end_to_end.live.edge.spec import EdgeSpec
from fluxshard.evaluate.end_to_end.live.looped import read_pictures, write_pictures
from fluxshard.evaluate.end_to_end.live.memory import forget_peak, peak_mib
from fluxshard.evaluate.end_to_end.live.methods import LiveMethod
from fluxshard.evaluate.end_to_end.live.options import LiveOptions
from fluxshard.evaluate.end_to_end.live.processes import (
    Server,
    ServerSpec,
    profile_latency,
    run_edges,
    save_model,
    serving,
)
from fluxshard.evaluate.end_to_end.settings import Settings
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.files import write_whole

FOLDER = "over_link"
FORMAT = 1
ALONE = "alone"  # in place of a tier: an edge without a server
_PROFILED = 30  # frames, of a latency profile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveRun:
    """One method on all clips over one link.

    Attributes:
      tier: of the link.
      slowdown: of the edge.
      method: that ran.
      answers: by edge, and of each by clip, in the order of the clips.
      facts: of link, kernel, memory and load; see `Runs`.
      edges: that ran it together; None where that is not what the run is for.
    """

    tier: str
    slowdown: float
    method: LiveMethod
    answers: tuple[Answers, ...]
    facts: Mapping[str, Any]
    edges: int | None = None

    @property
    def label(self) -> str:
        """In tables."""
        if self.edges is None:
            return self.method.name
        return f"{self.method.name}, {self.edges} edge{'s' if self.edges > 1 else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one run is of.

    Attributes:
      tier: of the link; `ALONE` without one.
      trace: of the link; None without one.
      slowdown: of the edges.
      method: to run.
      edges: see `LiveRun`.
    """

    tier: str
    trace: LinkTrace | None
    slowdown: float
    method: LiveMethod
    edges: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Makes the runs.

    Attributes:
      setup: network, size, frames of clips.
      weights: digest of the network's file.
      settings: of the methods.
      size: (H, W) of the images.
      clips: that are shown.
      links: one per tier.
      options: of all runs.
      out: directory of the evaluation.
      tell: is told what is done.
    """

    setup: Setup
    weights: str
    settings: Settings
    size: tuple[int, int]
    clips: tuple[Clip, ...]
    links: Mapping[str, LinkTrace]
    options: LiveOptions
    out: Path
    tell: Callable[[str], None] = field(default=lambda _: None)

    def run(self) -> list[LiveRun]:
        """Makes what is missing.

        Returns:
          runs by tier, slowdown and method; an edge alone ran once, and is in every tier.

        Raises:
          EvaluationError: a process failed; what was finished remains.
          TransportError: the link cannot be made.
        """
        cases = [
            (tier, self._case(tier, trace, slowdown, method))
            for tier, trace in self.links.items()
            for slowdown in self.options.slowdowns
            for method in self.options.methods
        ]
        return self._run(cases)

    def run_shared(self) -> list[LiveRun]:
        """Makes what is missing of the runs in which several edges share a link, at the greatest slowdown.

        Returns:
          runs by tier, number of edges and method.

        Raises:
          EvaluationError: a process failed; what was finished remains.
          TransportError: the link cannot be made.
        """
        slowdown = max(self.options.slowdowns)
        cases = [
            (tier, Case(tier=tier, trace=self.links[tier], slowdown=slowdown, method=method, edges=edges))
            for tier in self.options.shared_tiers
            for edges in self.options.edges
            for method in self.options.shared_methods
        ]
        return self._run(cases)

    @staticmethod
    def _case(tier: str, trace: LinkTrace, slowdown: float, method: LiveMethod) -> Case:
        """An edge alone is of no tier."""
        if method.place == "edge":
            return Case(tier=ALONE, trace=None, slowdown=slowdown, method=method)
        return Case(tier=tier, trace=trace, slowdown=slowdown, method=method)

    def _run(self, cases: Sequence[tuple[str, Case]]) -> list[LiveRun]:
        """Runs of cases, each with the tier that it is shown in."""
        for clip in self.clips:
            write_pictures(clip, self.size, self.setup.max_frames, self._pictures(clip))
        missing = [one for one in dict.fromkeys(case for _, case in cases) if not self._is_there(self._folder(one))]
        if missing:
            self._prepare()
        for tier in dict.fromkeys(one.tier for one in missing):
            of_tier = [one for one in missing if one.tier == tier]
            trace = of_tier[0].trace
            if trace is None:
                for one in of_tier:
                    self._make(one, None, None)
                continue
            with self._both(tier, trace, max(one.edges or 1 for one in of_tier)) as (link, server):
                for one in of_tier:
                    self._make(one, link, server)
        return [self._load(tier, case) for tier, case in cases]

    @contextmanager
    def _both(self, tier: str, trace: LinkTrace, edges: int) -> Iterator[tuple[EmulatedLink, Server]]:
        """A link that so many edges share, and the server behind it."""
        self.tell(f"{tier}: server")
        certificates = self._root / "certs"
        make_site(certificates, hosts=(PacketLink.listen_host,), clients=("edge",), days=7, overwrite=True)
        with (
            open_link(self.options.link_options(trace, edges), self.options.link) as link,
            serving(link, self._server(self._saved)) as server,
        ):
            yield link, server

    def _prepare(self) -> None:
        """Saves the model, and measures this machine's latency, where that is not there."""
        edge = processors()[0]
        if not self._saved.exists():
            self.tell("the model is saved")
        save_model(self._server(self.setup.weights), edge, self._saved)
        for policy in self._policies:
            if not self._profile(policy).exists():
                self.tell(f"latency of {policy} reuse on this machine")
            profile_latency(self._server(self._saved), policy, edge, self._profile(policy), _PROFILED)

    def _make(self, case: Case, link: EmulatedLink | None, server: Server | None) -> None:
        """Runs a method on all clips."""
        folder, count = self._folder(case), case.edges or 1
        many = "edge" if case.edges is None else f"{count} edges" if count > 1 else "1 edge"
        self.tell(f"{case.tier}: {many} {case.slowdown:g}x slower: {case.method.name}")
        # where an earlier run was stopped, its edges are still said to have met
        shutil.rmtree(folder, ignore_errors=True)
        addresses: list[str | None] = [None] * count
        if link is not None and server is not None:
            addresses = ["{}:{}".format(*link.address(server.port, edge)) for edge in range(count)]
            forget_peak(server.pid)
        specs = [self._edge(case, edge, address) for edge, address in enumerate(addresses)]
        timeout_s = 120 * count + len(self.clips) * (self.options.most_s + 30)
        each = run_edges(specs, link, timeout_s)
        facts = each[0] | {
            "peak_mib": max(one["peak_mib"] for one in each),
            "link": None if link is None else link.kind,
            "queue_bytes": None if link is None else link.options.queue,
            "one_way_ms": None if link is None else link.options.delay_up_ms,
            "initcwnd": None if link is None else link.options.initcwnd,
            "congestion_control": None if link is None else link.options.congestion_control,
            "trace": None if case.trace is None else case.trace.name,
            "mbps": None if link is None else list(link.options.rates),
            "server_mib": None if server is None else peak_mib(server.pid),
            "load": os.getloadavg()[0],
            "cpus": [list(one) for one in processors()],
        }
        write_whole(folder / "run.json", json.dumps(facts, indent=1).encode())

    def _load(self, tier: str, case: Case) -> LiveRun:
        folder = self._folder(case)
        try:
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EvaluationError(f"{str(folder)!r} cannot be read ({error}): delete it, and evaluate again") from error
        answers = tuple(
            Answers.load(self._edge_folder(case, edge), clip.name)
            for edge in range(case.edges or 1)
            for clip in self.clips
        )
        return LiveRun(
            tier=tier, slowdown=case.slowdown, method=case.method, answers=answers, facts=facts, edges=case.edges
        )

    @property
    def _root(self) -> Path:
        return self.out / FOLDER

    def _pictures(self, clip: Clip) -> Path:
        facts = [str(clip.source.resolve()), self.size, self.setup.max_frames]
        return self._root / "pictures" / f"{clip.name}-{_digest(facts)}"

    def _profile(self, policy: str) -> Path:
        facts = [self._network, len(processors()[0])]
        return self._root / "latency" / f"{policy}-{_digest(facts)}.json"

    @property
    def _policies(self) -> tuple[str, ...]:
        """Of the methods that choose between two places."""
        return tuple(dict.fromkeys(one.policy for one in self.options.methods if one.place == "both"))

    @property
    def _saved(self) -> Path:
        return self._root / "models" / f"{Path(self.setup.weights).stem}-{_digest(self._network)}.fluxshard"

    @property
    def _network(self) -> list[object]:
        return [self.weights, self.setup.task, self.size, self.setup.backend]

    def _folder(self, case: Case) -> Path:
        """Named after all that a run depends on."""
        clips = [str(self._pictures(clip)) for clip in self.clips]
        mbps = None if case.trace is None else case.trace.mbps[: self.options.seconds]
        facts = [
            FORMAT, self._network, asdict(self.settings), clips, mbps, self.options.of_a_run, case.slowdown,
            repr(case.method),
        ]  # fmt: skip
        if case.edges is not None:
            facts.append(case.edges)
        name = case.method.slug if case.edges is None else f"{case.edges}-edges-{case.method.slug}"
        return self._root / "runs" / case.tier / f"{case.slowdown:g}x" / f"{name}-{_digest(facts)}"

    def _edge_folder(self, case: Case, edge: int) -> Path:
        """Of what one edge leaves."""
        folder = self._folder(case)
        return folder if case.edges is None else folder / f"edge-{edge}"

    @staticmethod
    def _is_there(folder: Path) -> bool:
        return (folder / "run.json").exists()  # written last

    def _server(self, weights: Path) -> ServerSpec:
        return ServerSpec(
            weights=weights, task=self.setup.task, size=self.size, backend=self.setup.backend,
            cpus=processors()[1], certificates=self._root / "certs",
            profiles=[self._profile(policy) for policy in self._policies], folder=self._root / "server",
        )  # fmt: skip

    def _edge(self, case: Case, edge: int, address: str | None) -> EdgeSpec:
        options, settings, cpus = self.options, self.settings, processors()[0]
        first = edge % len(self.clips)
        return EdgeSpec(
            method=case.method.name, slowdown=case.slowdown, weights=str(self._saved), task=self.setup.task,
            size=self.size, backend=self.setup.backend, threads=len(cpus), cpus=cpus,
            pictures=tuple(str(self._pictures(clip)) for clip in self.clips[first:] + self.clips[:first]),
            frames=math.ceil(options.frames / len(self.clips)), seconds=options.seconds, warm_s=options.warm_s,
            most_s=options.most_s, scale=settings.scale, tau=settings.tau, tau_input=settings.tau_input,
            tau_features=settings.tau_features, server=address, certificates=str(self._root / "certs"),
            profiles={policy: str(self._profile(policy)) for policy in self._policies if address is not None},
            out=str(self._edge_folder(case, edge)), edge=edge, edges=case.edges or 1,
            meeting=str(self._folder(case) / "meeting"),
        )  # fmt: skip

    def frames_of(self, clip: Clip) -> int:
        """How many pictures a clip has, once they are written."""
        return len(read_pictures(self._pictures(clip)).pictures)


def processors() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Those of the edge and those of the server: half each, or both the only one."""
    cpus: Sequence[int] = sorted(os.sched_getaffinity(0))
    half = len(cpus) // 2
    return (tuple(cpus[:half]), tuple(cpus[half:])) if half else (tuple(cpus), tuple(cpus))


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]
