"""Networks of public packages by name, with random weights that are settled as trained ones are."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # definitions live as long as it does
_SMALL = 1e-3  # parameters below start as near to nothing: scales of residual branches
_SIZES = {"swin_tiny_patch4_window7_224": (224, 224), "coatnet_nano_rw_224": (224, 224)}  # of fixed windows
_ENCODERS = {"Segformer": "mit_b0"}


@dataclass(frozen=True, slots=True)
class Named:
    """A network of a list: `library:name [variant]`."""

    library: str
    name: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.library}:{self.name} {self.variant}".strip()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image, small and not square where the network allows it."""
        return _SIZES.get(self.name, (192, 320))


def named(line: str) -> Named | None:
    """A line of a list; None for comments and empty lines."""
    text = line.partition("#")[0].strip()
    if not text:
        return None
    library, _, rest = text.partition(":")
    name, _, variant = rest.partition(" ")
    return Named(library, name, "" if variant.startswith("(") else variant)


def build(network: Named, seed: int = 0) -> nn.Module:
    """The network in evaluation mode; weights are random, and statistics of batch norms fit them.

    Raises:
      ValueError: a library that is not known here.
      Exception: whatever the library raises.
    """
    torch.manual_seed(seed)
    net = _BUILDERS[network.library](network) if network.library in _BUILDERS else None
    if net is None:
        raise ValueError(f"{network.library} is not one of {', '.join(_BUILDERS)}")
    _settle(net.eval(), network.size)
    return net.eval()


def texture(height: int, width: int, seed: int, batch: int = 1) -> Tensor:
    """`(batch, 3, height, width)` float32 in 0..1: noise of several scales, as pictures have."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(batch, 3, height, width)
    for scale in (1, 4, 16):
        coarse = torch.rand(batch, 3, math.ceil(height / scale) + 1, math.ceil(width / scale) + 1, generator=generator)
        total += nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return total / 3


@torch.no_grad()
def _settle(net: nn.Module, size: tuple[int, int]) -> None:
    norms = [part for part in net.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        if norm.affine:
            norm.weight.uniform_(0.7, 1.3)
            norm.bias.normal_(0, 0.1)
        norm.reset_running_stats()
        norm.momentum = None  # plain means over what follows
        norm.train()
    for parameter in net.parameters():
        if parameter.dim() <= 4 and parameter.numel() > 1 and 0 < float(parameter.abs().max()) < _SMALL:
            parameter.uniform_(0.1, 0.5)
    if norms:
        net(texture(*size, seed=1, batch=2))
    for norm in norms:
        norm.eval()


def _timm(network: Named) -> Any:
    _names_of_torchvision()
    sized = {"img_size": network.size} if network.name in _SIZES else {}
    features = {"features_only": True} if network.variant == "features_only" else {}
    return importlib.import_module("timm").create_model(network.name, pretrained=False, **features, **sized)


def _yolo(network: Named) -> Any:
    _names_of_torchvision()
    tasks = importlib.import_module("ultralytics.nn.tasks")
    kinds = {
        "-seg": tasks.SegmentationModel, "-pose": tasks.PoseModel, "-obb": tasks.OBBModel,
        "-cls": tasks.ClassificationModel, "-sem": getattr(tasks, "SemanticSegmentationModel", None),
        "-depth": getattr(tasks, "DepthModel", None),
    }  # fmt: skip
    kind = next((kind for suffix, kind in kinds.items() if network.name.endswith(suffix)), tasks.DetectionModel)
    if network.name.startswith("rtdetr"):
        kind = tasks.RTDETRDetectionModel
    assert kind is not None, f"this ultralytics has no {network.name}"
    return kind(f"{network.name}.yaml", ch=3, verbose=False)


class _FirstImage(nn.Module):
    """A detector that takes a list of images, as one that takes one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net([picture for picture in x])


def _torchvision(network: Named) -> Any:
    _names_of_torchvision()
    models = importlib.import_module("torchvision.models")
    builder = models.get_model_builder(network.name)
    nothing = {"weights": None}
    try:
        net = builder(**nothing, weights_backbone=None)
    except TypeError:
        net = builder(**nothing)
    return _FirstImage(net) if "rcnn" in network.name or "retinanet" in network.name else net


def _smp(network: Named) -> Any:
    _names_of_torchvision()
    kind = getattr(importlib.import_module("segmentation_models_pytorch"), network.name)
    return kind(_ENCODERS.get(network.name, "resnet18"), encoder_weights=None)


_BUILDERS = {"timm": _timm, "yolo": _yolo, "torchvision": _torchvision, "smp": _smp}


def _names_of_torchvision() -> None:
    """Declares the operators that torchvision looks for when it is imported, where it was built for another torch."""
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            _OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
