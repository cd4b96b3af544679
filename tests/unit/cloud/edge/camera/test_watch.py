"""What a camera asks a server for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import fluxshard
from fluxshard import video
from fluxshard.cloud.edge.camera.options import WatchOptions
from fluxshard.cloud.wire.messages import read_up
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.cloud.wire.reuse_codec import decode_reuse
from fluxshard.errors import OptionError, TransportError
from fluxshard.options import ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile, network_digest
from fluxshard.testing import panning, write_clip
from fluxshard.testing.networks import bright_model
from fluxshard.testing.offload.watching import Watched, watched

SIZE = (64, 96)


class Listening:
    """A transport that only takes greetings."""

    def __init__(self) -> None:
        self.hellos: list[pb.Hello] = []

    async def exchange(self, up: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.hellos.append(read_up(await anext(up)).hello)
        raise TransportError("enough")
        yield b""


@pytest.fixture(scope="module")
def model() -> Watched:
    return watched(bright_model(), SIZE)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", panning((128, 192), (0, 4), 2))


@pytest.fixture
def source(clip: Path) -> Iterator[video.VideoSource]:
    with video.open(clip, size=SIZE, packets=True) as opened:
        yield opened


def greeting(source: video.VideoSource, options: WatchOptions, **given: Any) -> pb.Hello:
    listening = Listening()
    with fluxshard.watch(source, listening, options, **given) as camera:
        camera.run(next(source))
    return listening.hellos[0]


def given(**values: Any) -> WatchOptions:
    return WatchOptions(**{"stream": "cam", "first_wait_s": 0.1, **values})


def profile(path: Path, model: Watched, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "reuse": ReuseOptions(policy="planned", scene_cut=0.5),
        "canvas_px": 0,
        "network": network_digest(model.served.plan),
        "weights": model.served.weights,
    }
    ThresholdProfile(**(values | changes)).save(path)
    return path


def test_without_a_model_a_size_is_asked_for(source: video.VideoSource) -> None:
    hello = greeting(source, given(confidence=0.4, iou=0.6, deadline_ms=120))
    assert hello.server_plans and (hello.payload, hello.answer, hello.stream) == ("bitstream", "detections", "cam")
    assert (hello.plan, hello.weights, hello.image_height, hello.image_width) == ("", "", *SIZE)
    assert (hello.picture_height, hello.picture_width, hello.padded) == (128, 192, False)
    assert (hello.confidence, hello.iou, hello.budget_ms) == (0.4, 0.6, 120)
    assert decode_reuse(hello.reuse) == ReuseOptions(policy="planned")


@pytest.mark.parametrize(("deadline_ms", "said"), [(None, 0), (0.2, 1), (1e10, 2**32 - 1)])
def test_a_deadline_is_said_as_far_as_a_message_can(
    source: video.VideoSource, deadline_ms: float | None, said: int
) -> None:
    assert greeting(source, given(deadline_ms=deadline_ms)).budget_ms == said


def test_a_model_is_named_by_its_digests(source: video.VideoSource, model: Watched) -> None:
    hello = greeting(source, given(answer="outputs"), model=model.compiled)
    assert (hello.plan, hello.weights) == (model.served.plan.digest(), model.served.weights)


def test_pictures_that_are_padded(clip: Path) -> None:
    with video.open(clip, packets=True) as source:
        hello = greeting(source, given())
    assert hello.padded and (hello.image_height, hello.image_width) == (128, 192)


def test_packets_that_are_made_here_hold_images(clip: Path) -> None:
    with video.open(clip, size=(96, 96), packets=True, vectors="encode") as source:
        hello = greeting(source, given())
    assert not hello.padded and (hello.picture_height, hello.picture_width) == (96, 96)


def test_a_threshold_profile_is_of_some_weights(source: video.VideoSource, model: Watched, tmp_path: Path) -> None:
    own = ReuseOptions(profile=profile(tmp_path / "own.json", model))
    hello = greeting(source, given(reuse=own))
    assert hello.weights == model.served.weights and decode_reuse(hello.reuse).scene_cut == 0.5
    other = ReuseOptions(profile=profile(tmp_path / "other.json", model, weights="other"))
    with pytest.raises(OptionError, match="other weights"):
        fluxshard.watch(source, Listening(), given(reuse=other), model=model.compiled)
    canvas = ReuseOptions(profile=profile(tmp_path / "canvas.json", model, canvas_px=32))
    with pytest.raises(OptionError, match="canvas"):
        fluxshard.watch(source, Listening(), given(reuse=canvas))
