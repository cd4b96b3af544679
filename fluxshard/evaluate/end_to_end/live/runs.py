"""All runs of an evaluation over links, one after the other; what is there is not run again."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from fluxshard.cloud.link_emulation.emulated_link import EmulatedLink
from fluxshard.cloud.link_emulation.open_link import open_link
from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.cloud.link_emulation.packet_link import PacketLink
from fluxshard.cloud.security.site import make_site
from fluxshard.errors import EvaluationError, OptionError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.live.answers import Answers
from fluxshard.evaluate.end_to_end.live.edge.spec import EdgeSpec
from fluxshard.evaluate.end_to_end.live.looped import read_pictures, write_pictures
from fluxshard.evaluate.end_to_end.live.memory import forget_peak, peak_mib
from fluxshard.evaluate.end_to_end.live.methods import METHODS, LiveMethod
from fluxshard.evaluate.end_to_end.live.processes import (
    Server,
    ServerSpec,
    profile_latency,
    run_edge,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """What all runs have in common.

    Attributes:
      methods: that run.
      slowdowns: of the edge, see `slowed`.
      frames: that are counted per method and tier, at least; clips have equal shares.
      seconds: of every link, which repeats after them.
      warm_s: of every stream before frames are counted.
      most_s: after which a stream is over, whatever was counted.
      one_way_ms: propagation.
      link: see `open_link`.
      queue_bytes, congestion_control, initcwnd: see `LinkOptions`.

    Raises:
      OptionError: a value that is not allowed.
    """

    methods: tuple[LiveMethod, ...] = METHODS
    slowdowns: tuple[float, ...] = (16.0, 1.0)
    frames: int = 200
    seconds: int = 10
    warm_s: float = 4.0
    most_s: float = 300.0
    one_way_ms: float = 20.0
    link: Literal["auto", "packets", "shaper"] = "auto"
    queue_bytes: int | None = None
    congestion_control: str | None = None
    initcwnd: int | None = None

    def __post_init__(self) -> None:
        if not self.methods or not self.slowdowns or not all(math.isfinite(one) and one >= 1 for one in self.slowdowns):
            raise OptionError(f"slowdowns (={self.slowdowns}) must be numbers of at least 1, and methods at least one")
        if self.frames < 1 or self.seconds < 1 or not 0 <= self.warm_s < self.most_s:
            raise OptionError("frames and seconds must be at least 1, and warm_s at least 0 and below most_s")

    def link_options(self, trace: LinkTrace) -> LinkOptions:
        """The link of a trace's first seconds, again and again."""
        return LinkOptions(
            up_mbps=trace.mbps[: self.seconds], delay_up_ms=self.one_way_ms, delay_down_ms=self.one_way_ms,
            queue_bytes=self.queue_bytes, congestion_control=self.congestion_control, initcwnd=self.initcwnd,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveRun:
    """One method on all clips over one link.

    Attributes:
      tier: of the link.
      slowdown: of the edge.
      method: that ran.
      answers: by clip, in the order of the clips.
      facts: of link, kernel, memory and load; see `Runs`.
    """

    tier: str
    slowdown: float
    method: LiveMethod
    answers: tuple[Answers, ...]
    facts: Mapping[str, Any]


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
        for clip in self.clips:
            write_pictures(clip, self.size, self.setup.max_frames, self._pictures(clip))
        if not all(map(self._is_there, self._folders())):
            self._prepare()
        linked = [one for one in self.options.methods if one.place != "edge"]
        for slowdown in self.options.slowdowns:
            for method in (one for one in self.options.methods if one.place == "edge"):
                self._make(ALONE, None, slowdown, method, None, None)
        for tier, trace in self.links.items():
            missing = [
                (slowdown, method)
                for slowdown in self.options.slowdowns
                for method in linked
                if not self._is_there(self._folder(tier, trace, slowdown, method))
            ]
            if missing:
                with self._both(tier, trace) as (link, server):
                    for slowdown, method in missing:
                        self._make(tier, trace, slowdown, method, link, server)
        return [
            self._load(tier, trace, slowdown, method)
            for tier, trace in self.links.items()
            for slowdown in self.options.slowdowns
            for method in self.options.methods
        ]

    @contextmanager
    def _both(self, tier: str, trace: LinkTrace) -> Iterator[tuple[EmulatedLink, Server]]:
        """A link, and the server behind it."""
        self.tell(f"{tier}: server")
        certificates = self._root / "certs"
        make_site(certificates, hosts=(PacketLink.listen_host,), clients=("edge",), days=7, overwrite=True)
        with (
            open_link(self.options.link_options(trace), self.options.link) as link,
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

    def _make(
        self,
        tier: str,
        trace: LinkTrace | None,
        slowdown: float,
        method: LiveMethod,
        link: EmulatedLink | None,
        server: Server | None,
    ) -> None:
        """Runs a method on all clips, unless that is there."""
        folder = self._folder(tier, trace, slowdown, method)
        if self._is_there(folder):
            return
        self.tell(f"{tier}: edge {slowdown:g}x slower: {method.name}")
        address = None
        if link is not None and server is not None:
            host, port = link.address(server.port)
            address = f"{host}:{port}"
            forget_peak(server.pid)
        spec = self._edge(folder, slowdown, method, address)
        timeout_s = 120 + len(self.clips) * (self.options.most_s + 30)
        facts = run_edge(spec, link, timeout_s)
        facts |= {
            "link": None if link is None else link.kind,
            "queue_bytes": None if link is None else link.options.queue,
            "one_way_ms": None if link is None else link.options.delay_up_ms,
            "initcwnd": None if link is None else link.options.initcwnd,
            "congestion_control": None if link is None else link.options.congestion_control,
            "trace": None if trace is None else trace.name,
            "mbps": None if link is None else list(link.options.rates),
            "server_mib": None if server is None else peak_mib(server.pid),
            "load": os.getloadavg()[0],
            "cpus": [list(one) for one in processors()],
        }
        write_whole(folder / "run.json", json.dumps(facts, indent=1).encode())

    def _load(self, tier: str, trace: LinkTrace, slowdown: float, method: LiveMethod) -> LiveRun:
        folder = self._place(tier, trace, slowdown, method)
        try:
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EvaluationError(f"{str(folder)!r} cannot be read ({error}): delete it, and evaluate again") from error
        answers = tuple(Answers.load(folder, clip.name) for clip in self.clips)
        return LiveRun(tier=tier, slowdown=slowdown, method=method, answers=answers, facts=facts)

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

    def _folders(self) -> list[Path]:
        """Of all runs."""
        return [
            self._place(tier, trace, slowdown, method)
            for tier, trace in self.links.items()
            for slowdown in self.options.slowdowns
            for method in self.options.methods
        ]

    def _place(self, tier: str, trace: LinkTrace, slowdown: float, method: LiveMethod) -> Path:
        """Where a method's run of a tier is: that of an edge alone is of none."""
        if method.place == "edge":
            return self._folder(ALONE, None, slowdown, method)
        return self._folder(tier, trace, slowdown, method)

    def _folder(self, tier: str, trace: LinkTrace | None, slowdown: float, method: LiveMethod) -> Path:
        """Named after all that a run depends on."""
        options = asdict(self.options) | {"methods": None, "slowdowns": None}
        clips = [str(self._pictures(clip)) for clip in self.clips]
        mbps = None if trace is None else trace.mbps[: self.options.seconds]
        facts = [FORMAT, self._network, asdict(self.settings), clips, mbps, options, slowdown, repr(method)]
        return self._root / "runs" / tier / f"{slowdown:g}x" / f"{method.slug}-{_digest(facts)}"

    @staticmethod
    def _is_there(folder: Path) -> bool:
        return (folder / "run.json").exists()  # written last

    def _server(self, weights: Path) -> ServerSpec:
        return ServerSpec(
            weights=weights, task=self.setup.task, size=self.size, backend=self.setup.backend,
            cpus=processors()[1], certificates=self._root / "certs",
            profiles=[self._profile(policy) for policy in self._policies], folder=self._root / "server",
        )  # fmt: skip

    def _edge(self, folder: Path, slowdown: float, method: LiveMethod, address: str | None) -> EdgeSpec:
        options, settings, cpus = self.options, self.settings, processors()[0]
        return EdgeSpec(
            method=method.name, slowdown=slowdown, weights=str(self._saved), task=self.setup.task,
            size=self.size, backend=self.setup.backend, threads=len(cpus), cpus=cpus,
            pictures=tuple(str(self._pictures(clip)) for clip in self.clips),
            frames=math.ceil(options.frames / len(self.clips)), seconds=options.seconds, warm_s=options.warm_s,
            most_s=options.most_s, scale=settings.scale, tau=settings.tau, tau_input=settings.tau_input,
            tau_features=settings.tau_features, server=address, certificates=str(self._root / "certs"),
            profiles={policy: str(self._profile(policy)) for policy in self._policies if address is not None},
            out=str(folder),
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
