"""`python -m fluxshard.evaluate.end_to_end.live.edge.process SPEC`: an edge that runs one method over one link."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# heavy imports are inside: threads that libraries start must find the processors that they may use


def main(path: Path) -> None:
    """Runs a method on all clips of a spec, and writes answers and facts.

    Raises:
      FluxShardError: anything that keeps it from an end.
    """
    from fluxshard.evaluate.end_to_end.live.edge.spec import EdgeSpec

    spec = EdgeSpec.load(path)
    os.sched_setaffinity(0, spec.cpus)

    import warnings
    from contextlib import ExitStack
    from dataclasses import asdict

    import torch

    from fluxshard.cloud.tcp_settings import tcp_settings
    from fluxshard.evaluate.data.clips import ENCODED_FPS
    from fluxshard.evaluate.end_to_end.live.edge.meeting import Meeting
    from fluxshard.evaluate.end_to_end.live.edge.play import Window, play
    from fluxshard.evaluate.end_to_end.live.edge.stream import edge_model, open_stream
    from fluxshard.evaluate.end_to_end.live.looped import read_pictures
    from fluxshard.evaluate.end_to_end.live.memory import peak_mib
    from fluxshard.evaluate.end_to_end.live.methods import live_methods
    from fluxshard.files import write_whole
    from fluxshard.runtime.offload.energy.find import search_meters
    from fluxshard.video.live.background import NewestFrames
    from fluxshard.video.live.paced import PacedFrames

    warnings.simplefilter("ignore", UserWarning)  # weights run code; whoever gives them trusts them
    torch.set_num_threads(spec.threads)
    (method,) = live_methods([spec.method])
    model, out = edge_model(spec), Path(spec.out)
    window = Window(frames=spec.frames, seconds=spec.seconds, warm_s=spec.warm_s, most_s=spec.most_s)
    search = search_meters()
    with ExitStack() as stack:
        if search.meter is not None:
            stack.callback(search.meter.close)
        for number, folder in enumerate(spec.pictures):
            meeting = Meeting(Path(spec.meeting) / str(number), spec.edge, spec.edges)
            clip = read_pictures(Path(folder))
            with (
                clip.open(int(ENCODED_FPS * (spec.most_s + 60))) as source,
                open_stream(spec, method, model, source) as stream,
                NewestFrames(PacedFrames(source)) as frames,
            ):
                answers = play(
                    clip, frames, stream, window, method.name, moves=method.moves, meeting=meeting, meter=search.meter
                )
            answers.save(out)
    facts = {
        "peak_mib": peak_mib(),
        "tcp": asdict(tcp_settings(peer=None if spec.server is None else spec.server.rpartition(":")[0])),
        "threads": torch.get_num_threads(),
        "meter": None if search.meter is None else search.meter.name,
        "no_meter": search.reasons,
    }
    write_whole(out / "edge.json", json.dumps(facts, indent=1).encode())


if __name__ == "__main__":
    from fluxshard.errors import FluxShardError

    try:
        main(Path(sys.argv[1]))
    except FluxShardError as error:
        sys.exit(f"fluxshard: {error}")
