"""What an edge process is told, as a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fluxshard.errors import EvaluationError
from fluxshard.files import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSpec:
    """One method over one link, on all clips.

    Attributes:
      method: name in `METHODS`.
      slowdown: factor of `slowed`.
      weights, task, size, backend: of the network; the size is (H, W).
      threads: that compute.
      cpus: processors that the edge may use.
      pictures: folders of `write_pictures`, one per clip.
      frames: that are counted per clip, at least.
      seconds: in whole multiples of which frames are counted.
      warm_s: before the first counted frame.
      most_s: after which a clip is over, whatever was counted.
      scale, tau, tau_input, tau_features: as in `Settings`.
      server: HOST:PORT; None for the edge alone.
      certificates: folder of the site's files.
      profiles: latency profiles of this machine, by policy.
      out: folder for answers.
      edge, edges: number of this edge, from 0, and how many there are.
      meeting: folder in which edges meet, see `Meeting`.
    """

    method: str
    slowdown: float
    weights: str
    task: str
    size: tuple[int, int]
    backend: str
    threads: int
    cpus: tuple[int, ...]
    pictures: tuple[str, ...]
    frames: int
    seconds: float
    warm_s: float
    most_s: float
    scale: float
    tau: float
    tau_input: float
    tau_features: float
    server: str | None
    certificates: str
    profiles: dict[str, str]
    out: str
    edge: int
    edges: int
    meeting: str

    def save(self, path: Path) -> None:
        """Writes the file."""
        write_whole(path, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def load(cls, path: Path) -> EdgeSpec:
        """Reads the file.

        Raises:
          EvaluationError: missing or damaged.
        """
        try:
            body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for name in ("size", "cpus", "pictures"):
                body[name] = tuple(body[name])
            return cls(**body)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f"{str(path)!r} says nothing of an edge: {error}") from error
