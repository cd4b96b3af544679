"""The paper's compact check is not exact at zero thresholds: the smallest scene that shows it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fluxshard
from fluxshard.motion import MotionField
from fluxshard.testing.comparisons import assert_same

HEIGHT, WIDTH = 16, 192


def _scene() -> torch.Tensor:
    """A static image: an object that ends at x = 87 (exclusive), flat elsewhere."""
    image = torch.zeros(1, 3, HEIGHT, WIDTH)
    image[..., 40:87] = torch.rand(1, 3, 1, 47, generator=torch.Generator().manual_seed(0))
    return image


def _vectors_on_flat_ground() -> MotionField:
    """16 px to the right on x in [104, 152), where every pixel equals its source: an encoder is free to choose them."""
    motion = MotionField.zero(HEIGHT, WIDTH)
    motion.displacement[:, 104 // 8 : 152 // 8] = (0, 16)
    return motion


def _net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, (1, 3), padding=(0, 1)), nn.Conv2d(4, 4, (1, 3), padding=(0, 1))).eval()


def _run(rfap: str, image: torch.Tensor, motion: MotionField, net: nn.Module) -> torch.Tensor:
    model = fluxshard.compile(net, image, options=fluxshard.CompileOptions(backend="reference"))
    with model.session(fluxshard.ReuseOptions(rfap=rfap)) as session:
        session.run(image)
        out: torch.Tensor = session.run(image, motion)
        assert session.stats.recompute_ratio == 0  # every pixel equals its aligned source: S_0 is empty
    return out


@torch.inference_mode()
def test_flags_dropped_by_value_are_missing_one_layer_later() -> None:
    """Layer 1 recomputes at the vectors' edge, finds equal values and forgets; layer 2 reuses what saw the object."""
    image, net = _scene(), _net()
    dense = net(image)
    out = _run("compact", image, _vectors_on_flat_ground(), net)
    wrong = (out - dense).abs().amax((0, 1, 2))
    assert torch.nonzero(wrong > 1e-4).flatten().tolist() == [104]
    assert wrong[104] > 0.05 * (dense.max() - dense.min())
    assert_same(_run("per_layer", image, _vectors_on_flat_ground(), net), dense)


@torch.inference_mode()
def test_padding_is_tied_to_the_border() -> None:
    """A uniform pan of flat ground away from the border: compact reuses outputs that have seen the padding."""
    image = torch.full((1, 3, HEIGHT, WIDTH), 0.5)
    motion = MotionField.uniform(HEIGHT, WIDTH, 0, 8)
    net = _net()
    dense = net(image)
    model = fluxshard.compile(net, image, options=fluxshard.CompileOptions(backend="reference"))
    outputs = {}
    for rfap in ("compact", "per_layer"):
        with model.session(fluxshard.ReuseOptions(rfap=rfap)) as session:
            session.run(image)
            outputs[rfap] = session.run(image, motion)
    assert (outputs["compact"] - dense).abs().amax((0, 1, 2))[8:].max() > 1e-2
    assert_same(outputs["per_layer"], dense)


@pytest.mark.parametrize("rfap", ["compact", "off"])
@torch.inference_mode()
def test_exact_without_motion(rfap: str) -> None:
    """Where nothing moves no check is needed: all modes are exact."""
    image, net = _scene(), _net()
    changed = image.clone()
    changed[..., 3:9, 60:70] += 0.25
    model = fluxshard.compile(net, image, options=fluxshard.CompileOptions(backend="reference"))
    with model.session(fluxshard.ReuseOptions(rfap=rfap)) as session:
        session.run(image)
        assert_same(session.run(changed, MotionField.zero(HEIGHT, WIDTH)), net(changed))
