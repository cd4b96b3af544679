"""The model of a server, compiled at all sizes that edges may ask for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import torch

from fluxshard.backends import check_target
from fluxshard.cli.serving.request import ServeRequest
from fluxshard.cloud.compute import compute_of
from fluxshard.cloud.server.served_model import MakeDetect, ServedModel
from fluxshard.compile_loaded import compile_loaded
from fluxshard.errors import OptionError, warn
from fluxshard.models.loading.load import load
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.sizes import network_shape, parse_size
from fluxshard.options import ReuseOptions
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.device import full_float32
from fluxshard.pipeline.profiling.measured import measured_of
from fluxshard.runtime.endpoints.ordered_session import OrderedSession
from fluxshard.runtime.endpoints.work_order import WorkOrder
from fluxshard.runtime.offload.latency_profile import LatencyProfile
from fluxshard.runtime.stream import Program
from fluxshard.runtime.threshold_profile import weights_digest

Size = tuple[int, int]


def served_models(request: ServeRequest, tell: Callable[[str], object]) -> list[ServedModel]:
    """Loads and compiles the model, and runs it once at each size: what fails then would fail at the first frame.

    Args:
      request: as given.
      tell: is told what is done.

    Raises:
      FluxShardError: the model cannot be read, compiled or run; or one stream needs more memory than all may have.
    """
    profiles = [(path, LatencyProfile.load(path)) for path in request.latency_profiles]
    request.network.check_task()
    tell(f"reading {request.model.name} ...")
    loaded = load(request.model, request.task)
    sizes = image_sizes(request, loaded)
    compiled = compile_loaded(loaded, options=request.network.options(), target=_target(request))
    full_float32(compiled.device)
    models, used = [], set[str]()
    for size in sizes:
        tell(f"compiling {request.model.name} for {size[0]}x{size[1]} ...")
        program = compiled.specialise(torch.zeros(1, 3, *size)).program
        _check_memory(request, program, size)
        latency = b""
        for path, profile in profiles:
            here = replace(measured_of(compiled, "planned"), policy=profile.measured.policy)  # edges choose it
            if not profile.differences(here):
                latency = json.dumps(asdict(profile.model)).encode()
                used.add(str(path))
        models.append(
            ServedModel(
                program=program,
                weights=weights_digest(program.engine.plan, compiled.weights),
                compute=compute_of(compiled),
                detect=_detect(loaded, size),
                latency_model=latency,
            )
        )
    for path, _ in profiles:
        if str(path) not in used:
            warn(f"latency profile {str(path)!r} fits none of the served sizes on this machine: it is not used")
    return models


def image_sizes(request: ServeRequest, loaded: LoadedModel) -> Sequence[Size]:
    """(H, W) of all images that edges may send, in the order of the flags.

    Args:
      request: as given.
      loaded: the network.

    Raises:
      OptionError: a size that is none, or that the network does not accept.
    """
    pictures = request.picture_sizes()
    found: list[Size] = []
    for text in request.sizes or (None,):
        exact = text is not None and not isinstance(parse_size(text), int)
        found += [network_shape(text, picture, loaded) for picture in (pictures[:1] if exact else pictures)]
    return list(dict.fromkeys(found))


def _target(request: ServeRequest) -> str:
    return check_target(request.device, request.network.options())


def _check_memory(request: ServeRequest, program: Program, size: Size) -> None:
    session = OrderedSession(program, ReuseOptions(policy="planned"), sparse_image=True)
    needed, allowed = session.n_bytes, request.limits().cache_bytes
    if needed > allowed:
        raise OptionError(
            f"--cache-gb (={request.cache_gb:g}) is less than one stream at {size[0]}x{size[1]} needs: "
            f"{needed / 1e9:.2f} GB"
        )
    if request.backend != "emulated":  # in which a frame takes minutes
        session.run(torch.zeros(1, 3, *size), None, WorkOrder(keyframe=True, masks=()))


def _detect(loaded: LoadedModel, size: Size) -> MakeDetect | None:
    layout = loaded.layout
    if layout is None:
        return None
    return lambda confidence, iou: DetectionHead(layout, size, confidence=confidence, iou=iou, owns=True)
