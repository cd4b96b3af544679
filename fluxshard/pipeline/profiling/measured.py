"""What a compiled model on this machine is measured as: latency profiles fit it where all of this is equal."""

from __future__ import annotations

import torch

import fluxshard
from fluxshard.api import CompiledModel
from fluxshard.options import Policy
from fluxshard.pipeline.device import RunDevice, cpu_name
from fluxshard.runtime.offload.latency_profile import Measured
from fluxshard.runtime.threshold_profile import weights_digest


def measured_of(model: CompiledModel, policy: Policy) -> Measured:
    """Describes an endpoint.

    Args:
      model: compiled for a size of image.
      policy: that its sessions run under.

    Raises:
      StateError: the model is not compiled for any size yet.
    """
    gpu = RunDevice(model.device).describe()
    return Measured(
        plan=model.plan.digest(),
        weights=weights_digest(model.plan, model.weights),
        policy=policy,
        backend=model.backend,
        dtype=model.dtype,
        device=cpu_name() if gpu is None else gpu,
        threads=torch.get_num_threads() if gpu is None else 0,
        version=f"fluxshard {fluxshard.__version__}, torch {torch.__version__}",
    )
