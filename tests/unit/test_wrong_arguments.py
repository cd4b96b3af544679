"""Wrong arguments of everything public: an error of this package, in one line, at the call that was wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fluxshard
from fluxshard import errors, video
from fluxshard.cloud.edge.connection.link import LinkOptions
from fluxshard.cloud.security.tls import ClientTls
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.motion import MotionField
from fluxshard.options import CompileOptions, LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.clips import write_clip
from fluxshard.testing.pictures import panning

SIZE = (32, 48)
SHAPE = (1, 3, *SIZE)
REFERENCE = CompileOptions(backend="reference")

Call = Callable[[SimpleNamespace], Any]


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1)).eval()


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What calls are made on."""
    place = tmp_path_factory.mktemp("face")
    model = fluxshard.compile(_net(), SHAPE, options=REFERENCE)
    fresh, ran, closed = model.session(), model.session("planned", keep_all=True), model.session()
    image = torch.rand(SHAPE)
    ran.run(image)
    closed.close()
    (place / "text.pt").write_text("no weights")
    (place / "empty.pt").touch()
    (place / "text.json").write_text("{")
    (place / "text.mp4").write_text("no video")
    torch.save(_net().state_dict(), place / "tensors.pt")
    model.save(place / "model.fluxshard")
    write_clip(place / "clip.mp4", panning((64, 96), (0, 4), 3))
    return SimpleNamespace(
        place=place, model=model, fresh=fresh, ran=ran, closed=closed, image=image, net=_net(), new=model.session,
        planned=model.session("planned"), exact=model.session("exact"),
        uncompiled=fluxshard.compile(_net(), options=REFERENCE),
        detector=fluxshard.compile(LoadedModel(_net(), "detect", HeadLayout("detect", 2)), options=REFERENCE),
    )  # fmt: skip


def _open(f: SimpleNamespace, **named: Any) -> Any:
    return video.open(f.place / "clip.mp4", **named)


COMPILE: dict[str, Call] = {
    "compile no net": lambda f: fluxshard.compile(None, options=REFERENCE),  # type: ignore[arg-type]
    "compile a class": lambda f: fluxshard.compile(nn.ReLU, SHAPE, options=REFERENCE),  # type: ignore[arg-type]
    "compile a function": lambda f: fluxshard.compile(torch.relu, SHAPE, options=REFERENCE),  # type: ignore[arg-type]
    "compile a state dict": lambda f: fluxshard.compile(f.net.state_dict(), SHAPE),
    "compile no file": lambda f: fluxshard.compile("nothing.pt"),
    "compile a directory": lambda f: fluxshard.compile(f.place),
    "compile text": lambda f: fluxshard.compile(f.place / "text.pt"),
    "compile an empty file": lambda f: fluxshard.compile(f.place / "empty.pt"),
    "compile tensors": lambda f: fluxshard.compile(str(f.place / "tensors.pt")),
    "compile a saved model at another size": lambda f: fluxshard.compile(
        f.place / "model.fluxshard", (1, 3, 64, 64), options=REFERENCE
    ),
    "compile a saved model with a canvas": lambda f: fluxshard.compile(
        f.place / "model.fluxshard", options=CompileOptions(backend="reference", canvas_px=8)
    ),
    "example (H, W)": lambda f: fluxshard.compile(f.net, (32, 48), options=REFERENCE),  # type: ignore[arg-type]
    "example of batch 2": lambda f: fluxshard.compile(f.net, (2, 3, 32, 48), options=REFERENCE),
    "example of no batch": lambda f: fluxshard.compile(f.net, (3, 32, 48), options=REFERENCE),  # type: ignore[arg-type]
    "example of size 0": lambda f: fluxshard.compile(f.net, (1, 3, 0, 48), options=REFERENCE),
    "example of floats": lambda f: fluxshard.compile(f.net, (1.0, 3, 32, 48), options=REFERENCE),  # type: ignore[arg-type]
    "example of two images": lambda f: fluxshard.compile(f.net, (f.image, f.image), options=REFERENCE),  # type: ignore[arg-type]
    "example a dict": lambda f: fluxshard.compile(f.net, {"x": f.image}, options=REFERENCE),  # type: ignore[arg-type]
    "example text": lambda f: fluxshard.compile(f.net, "640", options=REFERENCE),  # type: ignore[arg-type]
    "example a number": lambda f: fluxshard.compile(f.net, 640, options=REFERENCE),  # type: ignore[arg-type]
    "example of ints": lambda f: fluxshard.compile(f.net, torch.zeros(SHAPE, dtype=torch.int64), options=REFERENCE),
    "example of 4 channels": lambda f: fluxshard.compile(f.net, (1, 4, 32, 48), options=REFERENCE),
    "example a batch of images": lambda f: fluxshard.compile(f.net, f.image.repeat(2, 1, 1, 1), options=REFERENCE),
    "options a dict": lambda f: fluxshard.compile(f.net, options={"backend": "cpp"}),  # type: ignore[arg-type]
    "options of a session": lambda f: fluxshard.compile(f.net, options=ReuseOptions()),  # type: ignore[arg-type]
    "target of another kind": lambda f: fluxshard.compile(f.net, target="tpu", options=REFERENCE),
    "target a number": lambda f: fluxshard.compile(f.net, target=0, options=REFERENCE),  # type: ignore[arg-type]
    "target of another backend": lambda f: fluxshard.compile(f.net, target="cuda", options=REFERENCE),
    "load no file": lambda f: fluxshard.load("nothing.fluxshard"),
    "load a directory": lambda f: fluxshard.load(f.place),
    "load weights": lambda f: fluxshard.load(f.place / "tensors.pt"),
    "load text": lambda f: fluxshard.load(f.place / "text.json"),
    "load None": lambda f: fluxshard.load(None),  # type: ignore[arg-type]
    "load with a dict": lambda f: fluxshard.load(f.place / "model.fluxshard", options={}),  # type: ignore[arg-type]
    "load for a tpu": lambda f: fluxshard.load(f.place / "model.fluxshard", target="tpu"),
    "save over a file": lambda f: f.model.save(f.place / "text.pt"),
    "save to a directory": lambda f: f.model.save(f.place, overwrite=True),
    "save to nowhere": lambda f: f.model.save(f.place / "no" / "model.fluxshard"),
    "save to None": lambda f: f.model.save(None),
    "save what is not compiled": lambda f: f.uncompiled.save(f.place / "new.fluxshard"),
    "save for another processor": lambda f: fluxshard.compile(f.net, SHAPE).save(f.place / "new", isas=("mmx",)),
    "save for text": lambda f: f.model.save(f.place / "new", isas="native"),
    "save with text as profile": lambda f: f.model.save(f.place / "new", profile="seg.json"),
    "save with text as network": lambda f: f.model.save(f.place / "new", loaded="seg.pt"),
    "plan of nothing": lambda f: f.uncompiled.plan,
    "explain nothing": lambda f: f.uncompiled.explain(),
    "explain text": lambda f: f.model.explain("640"),
    "explain (H, W)": lambda f: f.model.explain((32, 48)),
    "explain another target": lambda f: f.model.explain(target="cuda"),
    "explain a number as target": lambda f: f.model.explain(target=90),
    "explain another dtype": lambda f: f.model.explain(target="cuda:sm_90", dtype="int8"),
    "detections of raw outputs": lambda f: f.model.detections(torch.zeros(1, 84, 10)),
    "predictor of raw outputs": lambda f: fluxshard.yolo_predictor(f.model),
    "predictor of a fast session": lambda f: fluxshard.yolo_predictor(f.detector, "fast"),  # type: ignore[arg-type]
    "detections of another shape": lambda f: f.detector.detections(torch.zeros(1, 84, 10), video.Letterbox(SIZE)),
    "detections of nothing": lambda f: f.detector.detections(None, video.Letterbox(SIZE)),
    "detections of a frame that is none": lambda f: f.detector.detections(torch.zeros(1, 6, 10), SIZE),
    "detections of no size": lambda f: f.detector.detections(torch.zeros(1, 6, 10)),
    "detections above 2": lambda f: f.detector.detections(torch.zeros(1, 6, 10), video.Letterbox(SIZE), confidence=2),
    "predictor of None": lambda f: fluxshard.yolo_predictor(None),
}
SESSION: dict[str, Call] = {
    "session of text": lambda f: f.new("fast"),
    "session of a dict": lambda f: f.new({"policy": "planned"}),
    "session of compile options": lambda f: f.new(REFERENCE),
    "session of both": lambda f: f.new("planned", exact=True),
    "session of no profile": lambda f: f.new(ReuseOptions(profile="nothing.json")),
    "session of a damaged profile": lambda f: f.new(ReuseOptions(profile=f.place / "text.json")),
    "run nothing": lambda f: f.ran.run(None),
    "run a list": lambda f: f.ran.run([[0.0]]),
    "run text": lambda f: f.ran.run("walk.mp4"),
    "run a batch": lambda f: f.ran.run(f.image.repeat(2, 1, 1, 1)),
    "run a batch of pictures": lambda f: f.ran.run(np.zeros((2, *SIZE, 3), np.uint8)),
    "run without a batch": lambda f: f.ran.run(f.image[0]),
    "run a plane": lambda f: f.ran.run(f.image[0, 0]),
    "run a grey picture": lambda f: f.ran.run(np.zeros(SIZE, np.uint8)),
    "run planes of bytes": lambda f: f.ran.run(np.zeros((3, *SIZE), np.uint8)),
    "run a picture with alpha": lambda f: f.ran.run(np.zeros((*SIZE, 4), np.uint8)),
    "run a picture of floats": lambda f: f.ran.run(np.zeros((*SIZE, 3), np.float32)),
    "run channels last": lambda f: f.ran.run(f.image.permute(0, 2, 3, 1)),
    "run ints": lambda f: f.ran.run(torch.zeros(SHAPE, dtype=torch.int32)),
    "run truth values": lambda f: f.ran.run(torch.zeros(SHAPE, dtype=torch.bool)),
    "run complex numbers": lambda f: f.ran.run(torch.zeros(SHAPE, dtype=torch.complex64)),
    "run words": lambda f: f.ran.run(np.array([["a"]])),
    "run objects": lambda f: f.ran.run(np.array([None])),
    "run nothing of a size": lambda f: f.ran.run(torch.zeros(1, 3, 0, 48)),
    "run one channel": lambda f: f.ran.run(f.image[:, :1]),
    "run four channels": lambda f: f.ran.run(torch.zeros(1, 4, *SIZE)),
    "run on another device": lambda f: f.ran.run(f.image.to("meta")),
    "run with an array as motion": lambda f: f.ran.run(f.image, np.zeros((4, 6, 2), np.int16)),
    "run with text as motion": lambda f: f.ran.run(f.image, "codec"),
    "run with motion of another size": lambda f: f.ran.run(f.image, MotionField.zero(64, 64)),
    "run when closed": lambda f: f.closed.run(f.image),
    "prepare nothing": lambda f: f.fresh.prepare(None),
    "prepare when closed": lambda f: f.closed.prepare(f.image),
    "run whole nothing": lambda f: f.ran.run_whole(None),
    "propose nothing": lambda f: f.ran.propose(None),
    "propose with an array": lambda f: f.ran.propose(f.image, np.zeros((4, 6, 2))),
    "glance at nothing": lambda f: f.ran.glance(None),
    "work that is no dict": lambda f: f.ran.run_with_work(f.image, None, np.ones(SIZE, bool)),
    "work of another grid": lambda f: f.ran.run_with_work(f.image, None, {99: np.ones(SIZE, bool)}),
    "work of another shape": lambda f: f.ran.run_with_work(f.image, None, {0: np.ones((1, 1), bool)}),
    "work that is text": lambda f: f.ran.run_with_work(f.image, None, {0: "all"}),
    "focus on nothing": lambda f: f.ran.focus(None),
    "focus on floats": lambda f: f.ran.focus(np.zeros((4, 6))),
    "focus on another size": lambda f: f.ran.focus(np.zeros((5, 6), np.uint8)),
    "focus on values that mean nothing": lambda f: f.ran.focus(np.full((4, 6), 7, np.uint8)),
    "focus before the first frame": lambda f: f.fresh.focus(np.zeros((4, 6), np.uint8)),
    "scale by 0": lambda f: f.planned.scale_thresholds(0),
    "scale by text": lambda f: f.planned.scale_thresholds("2"),
    "scale what is exact": lambda f: f.exact.scale_thresholds(2),
    "stats of nothing": lambda f: f.fresh.stats,
    "counts of nothing": lambda f: f.fresh.counted,
    "inspect nothing": lambda f: f.fresh.inspect(),
    "inspect what is closed": lambda f: f.closed.inspect(),
    "mask of nothing": lambda f: f.fresh.recompute_mask(),
    "work map of nothing": lambda f: f.fresh.work_map(),
    "park nothing": lambda f: f.fresh.park(),
}
OPTIONS: dict[str, Call] = {
    **{
        f"{kind.__name__} {name}={value!r}": lambda f, kind=kind, name=name, value=value: kind(**{name: value})
        for kind, wrong in {
            CompileOptions: {
                "backend": ("fast", None, 1),
                "dtype": ("int8", None, torch.float16),
                "canvas_px": (-1, 1.5, True, "8"),
                "isa": ("sse9", None),
                "arch": (90, None),
                "autotune": ("yes", 1),
                "dump_dir": (1,),
            },
            LevelOptions: {
                "gain": (-1, "1", float("nan")),
                "dilation": (-1, 0.5),
                "shard_px": (7, 12, "16"),
                "low_pass_px": (3, True, "2"),
            },
            PlannedOptions: {
                "tau": (-1, "0.1", None, float("inf")),
                "tau_background": (-1, "0.1"),
                "tau_small": (float("nan"),),
                "wait_frames": (-1, 1.5, 1000),
                "refresh_frames": ("1",),
                "hold_frames": (None,),
                "margin_px": (-8,),
                "region_confidence": ("high",),
                "candidates": (None, 1),
                "pixel_range": ((1, 0), 255, (0, "1"), (0, 1, 2), None),
                "levels": ([8], {8: 0.5}, {"8": LevelOptions()}),
            },
            ReuseOptions: {
                "policy": ("exact", None),
                "rfap": ("on", None),
                "remap": (None, "yes"),
                "input": ("old",),
                "tau_input": (-1, "0", None),
                "tau": (-1, "0", None, {"a": "b"}),
                "scene_cut": (0, 2, "0.5"),
                "execution": ("half",),
                "planned": ({}, None),
                "canvas_fill": ("grey", float("nan")),
                "profile": (1,),
            },
            fluxshard.OffloadOptions: {
                "dispatch": ({}, None),
                "payload": ("png", None),
                "answer": ("boxes",),
                "stream": ("", None),
                "keep_warm": ("yes",),
                "hedge_share": (2, "0.1"),
                "latency_profile": (1,),
                "tls": ("ca.pem",),
                "token": (1,),
                "insecure": ("yes",),
                "link": ({},),
            },
            fluxshard.WatchOptions: {
                "reuse": ("planned", None),
                "answer": ("boxes",),
                "confidence": (2, "0.5"),
                "iou": (-1, None),
                "deadline_ms": (0, "100"),
                "stream": ("", 1),
                "first_wait_s": (-1, "5"),
                "tls": ("ca.pem",),
                "token": (1,),
                "insecure": (1,),
                "link": (None,),
            },
        }.items()
        for name, values in wrong.items()
        for value in values
    },
    "planned without remap": lambda f: ReuseOptions(policy="planned", remap=False),
    "planned and dense": lambda f: ReuseOptions(policy="planned", execution="dense"),
    "scaled by text": lambda f: PlannedOptions().scaled("2"),  # type: ignore[arg-type]
}
MOTION: dict[str, Call] = {
    "lists of another shape": lambda f: MotionField([1, 2], [True]),  # type: ignore[arg-type]
    "floats": lambda f: MotionField(np.zeros((4, 6, 2)), np.ones((4, 6), bool)),
    "validity of ints": lambda f: MotionField(np.zeros((4, 6, 2), np.int16), np.ones((4, 6), int)),
    "validity of another size": lambda f: MotionField(np.zeros((4, 6, 2), np.int16), np.ones((4, 7), bool)),
    "None": lambda f: MotionField(None, None),  # type: ignore[arg-type]
    "cells of no size": lambda f: MotionField(np.zeros((4, 6, 2), np.int16), np.ones((4, 6), bool), 0),
    "cells of text": lambda f: MotionField(np.zeros((4, 6, 2), np.int16), np.ones((4, 6), bool), "8"),  # type: ignore[arg-type]
    "zero of no size": lambda f: MotionField.zero(0, 48),
    "zero of text": lambda f: MotionField.zero("32", 48),  # type: ignore[arg-type]
    "uniform by halves": lambda f: MotionField.uniform(32, 48, 0.5, 0),  # type: ignore[arg-type]
    "cells of uniform": lambda f: MotionField.uniform(32, 48, 1, 0, 0),
    "flow of planes": lambda f: MotionField.from_flow(np.zeros((2, 32, 48)), "backward"),
    "flow of nothing": lambda f: MotionField.from_flow(None, "backward"),  # type: ignore[arg-type]
    "flow of no direction": lambda f: MotionField.from_flow(np.zeros((32, 48, 2)), "left"),  # type: ignore[arg-type]
    "flow of truth values": lambda f: MotionField.from_flow(np.zeros((32, 48, 2), bool), "forward"),
    "flow of no cells": lambda f: MotionField.from_flow(np.zeros((32, 48, 2)), "forward", cell_px=0),
    "estimator of a side": lambda f: fluxshard.MotionEstimator(640),  # type: ignore[arg-type]
    "estimator of floats": lambda f: fluxshard.MotionEstimator((32.0, 48.0)),  # type: ignore[arg-type]
    "estimator of no size": lambda f: fluxshard.MotionEstimator((0, 48)),
    "estimator of half a thread": lambda f: fluxshard.MotionEstimator(SIZE, threads=0.5),  # type: ignore[arg-type]
    "estimate of nothing": lambda f: fluxshard.MotionEstimator(SIZE)(None),  # type: ignore[arg-type]
    "estimate of floats": lambda f: fluxshard.MotionEstimator(SIZE)(np.zeros((*SIZE, 3))),  # type: ignore[arg-type]
    "estimate of another size": lambda f: fluxshard.MotionEstimator(SIZE)(np.zeros((*SIZE[::-1], 3), np.uint8)),
}
VIDEO: dict[str, Call] = {
    "no file": lambda f: video.open("nothing.mp4"),
    "no name": lambda f: video.open(""),
    "None": lambda f: video.open(None),  # type: ignore[arg-type]
    "a float": lambda f: video.open(0.5),  # type: ignore[arg-type]
    "a list": lambda f: video.open(["a.mp4"]),  # type: ignore[arg-type]
    "text in a file": lambda f: video.open(f.place / "text.mp4"),
    "a negative camera": lambda f: video.open(-1),
    "size of a side": lambda f: _open(f, size=640),
    "size of floats": lambda f: _open(f, size=(32.0, 48.0)),
    "size of text": lambda f: _open(f, size="32x48"),
    "size of no pixels": lambda f: _open(f, size=(0, 48)),
    "no frames": lambda f: _open(f, max_frames=0),
    "half a frame": lambda f: _open(f, max_frames=0.5),
    "no rate": lambda f: _open(f, fps=0),
    "no stride": lambda f: _open(f, stride=0),
    "rate as text": lambda f: _open(f, fps="25"),
    "stride as text": lambda f: _open(f, stride="2"),
    "vectors of another kind": lambda f: _open(f, vectors="flow"),
    "vectors in a list": lambda f: _open(f, vectors=["codec"]),
    "letterbox of a side": lambda f: video.Letterbox(640),  # type: ignore[arg-type]
    "letterbox of no size": lambda f: video.Letterbox((32, 48), (0, 0)),
    "write to nowhere": lambda f: video.VideoWriter(f.place / "no" / "film.mp4", (64, 96), 25),
    "write no size": lambda f: video.VideoWriter(f.place / "film.mp4", (0, 96), 25),
    "write a side": lambda f: video.VideoWriter(f.place / "film.mp4", 96, 25),  # type: ignore[arg-type]
    "write at no rate": lambda f: video.VideoWriter(f.place / "film.mp4", (64, 96), 0),
    "write at a rate of text": lambda f: video.VideoWriter(f.place / "film.mp4", (64, 96), "25"),  # type: ignore[arg-type]
    "write a picture of another size": lambda f: _written(f, np.zeros((96, 64, 3), np.uint8)),
    "write a picture of floats": lambda f: _written(f, np.zeros((64, 96, 3))),
    "write nothing": lambda f: _written(f, None),
}
NETWORK: dict[str, Call] = {
    "offload nothing": lambda f: fluxshard.offload(None, "localhost:1"),  # type: ignore[arg-type]
    "offload to nowhere": lambda f: fluxshard.offload(f.model, None),  # type: ignore[arg-type]
    "offload without a port": lambda f: fluxshard.offload(f.model, "localhost", options=_insecure()),
    "offload in the clear": lambda f: fluxshard.offload(
        f.model, "192.0.2.1:7788", options=fluxshard.OffloadOptions(insecure=True)
    ),
    "offload a dict": lambda f: fluxshard.offload(f.model, "localhost:1", options={}),  # type: ignore[arg-type]
    "offload text as reuse": lambda f: fluxshard.offload(f.model, "localhost:1", reuse="fast", options=_insecure()),  # type: ignore[arg-type]
    "offload no video": lambda f: fluxshard.offload(
        f.model, "localhost:1", options=fluxshard.OffloadOptions(payload="bitstream", insecure=True)
    ),
    "offload no certificate": lambda f: fluxshard.offload(
        f.model, "localhost:1", options=fluxshard.OffloadOptions(tls=_tls(f.place / "no.pem"))
    ),
    "watch nothing": lambda f: fluxshard.watch(None, "localhost:1"),  # type: ignore[arg-type]
    "watch without packets": lambda f: fluxshard.watch(_open(f, size=SIZE), "localhost:1"),
    "watch with a dict": lambda f: fluxshard.watch(_open(f, packets=True), "localhost:1", {}),  # type: ignore[arg-type]
    "watch outputs without a model": lambda f: fluxshard.watch(
        _open(f, packets=True), "localhost:1", fluxshard.WatchOptions(answer="outputs", insecure=True)
    ),
    "watch from nowhere": lambda f: fluxshard.watch(_open(f, packets=True), None, _watching()),  # type: ignore[arg-type]
    "watch with text as model": lambda f: fluxshard.watch(
        _open(f, packets=True), "localhost:1", _watching(), model="seg.pt",  # type: ignore[arg-type]
    ),
    "link that never waits": lambda f: LinkOptions(**{next(iter(LinkOptions.__dataclass_fields__)): -1}),
    "dispatch of another policy": lambda f: DispatchOptions(policy="random"),  # type: ignore[arg-type]
    "a second look before the first": lambda f: DispatchOptions(second_look_s=-1.0),
}  # fmt: skip


def _insecure() -> fluxshard.OffloadOptions:
    return fluxshard.OffloadOptions(insecure=True)


def _tls(file: Path) -> ClientTls:
    return ClientTls(authority=file, certificate=file, key=file, server_name=None)


def _watching() -> fluxshard.WatchOptions:
    return fluxshard.WatchOptions(insecure=True)


def _written(f: SimpleNamespace, picture: Any) -> None:
    with video.VideoWriter(f.place / "film.mp4", (64, 96), 25) as film:
        film.write(picture)


CALLS = {
    f"{part}: {name}": call
    for part, calls in {
        "compile": COMPILE,
        "session": SESSION,
        "options": OPTIONS,
        "motion": MOTION,
        "video": VIDEO,
        "network": NETWORK,
    }.items()
    for name, call in calls.items()
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments(name: str, face: SimpleNamespace) -> None:
    with pytest.raises(errors.FluxShardError) as caught:
        CALLS[name](face)
    text = str(caught.value)
    assert text and "\n" not in text and len(text) < 600, text
    # another one of this package may have been the cause; one of Python or torch alone says nothing to a caller
    assert "object has no attribute" not in text and "not supported between" not in text, text
    assert os.linesep not in text


def test_no_wrong_call_has_changed_anything(face: SimpleNamespace) -> None:
    with face.new("exact") as session:
        assert torch.allclose(session.run(face.image), face.net(face.image), atol=1e-5)
    assert not Path(face.place / "new").exists() and not (face.place / "new.fluxshard").exists()
