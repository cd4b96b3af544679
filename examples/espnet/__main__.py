"""Saves ESPNet as a model that `fluxshard run` takes.

python -m examples.espnet espnet_p_2_q_8.pth --out espnet.fluxshard --size 384x640
fluxshard run VIDEO --model espnet.fluxshard --out runs/espnet --compare dense
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import fluxshard
from examples.espnet.model import CLASSES, load_espnet
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.sizes import image_shape


def main() -> None:
    """Compiles and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="espnet_p_2_q_8.pth of the authors' decoder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="384x640")
    given = parser.parse_args()
    net = load_espnet(given.weights)
    height, width = image_shape(given.size, (1, 1), 8)
    model = fluxshard.compile(net, torch.zeros(1, 3, height, width))
    model.save(given.out, loaded=LoadedModel(net, "semantic", names=CLASSES, stride_px=8), overwrite=True)
    print(f"{given.out}: {len(CLASSES)} classes at {height}x{width}")


if __name__ == "__main__":
    main()
