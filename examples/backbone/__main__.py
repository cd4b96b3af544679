"""Saves a classifier of timm or torchvision as a model that `fluxshard run` takes.

    python -m examples.backbone timm:mobilenetv3_small_100 --out net.fluxshard --size 224x384
    fluxshard run VIDEO --model net.fluxshard --out runs/net --compare dense

Nothing is downloaded: weights come from a seed, and what the network calls a picture means nothing. What reuse costs
and changes can be seen all the same. For trained weights build the network yourself, and save it in the same way.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import fluxshard
from benchmarks.model_zoo import build, named
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.sizes import image_shape


def main() -> None:
    """Builds, compiles and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="library:name, such as timm:mobilenetv3_small_100 or torchvision:resnet18")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="224x384")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    network = named(given.network)
    if network is None:
        parser.error(f"network (={given.network!r}) must be library:name")
    net = build(network, given.seed).requires_grad_(False)
    height, width = image_shape(given.size, (1, 1))
    model = fluxshard.compile(net, torch.zeros(1, 3, height, width))
    model.save(given.out, loaded=LoadedModel(net, "classify"), overwrite=True)
    print(f"{given.out}: {network} at {height}x{width}")


if __name__ == "__main__":
    main()
