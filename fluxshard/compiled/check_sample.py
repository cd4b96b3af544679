"""Compares a frame of a compiled model with what the network itself returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fluxshard.errors import FluxShardError, PassError
from fluxshard.runtime.engines.engine import StepControl
from fluxshard.runtime.stream import Program

if TYPE_CHECKING:
    from fluxshard.compiled.model import CompiledModel

# A share of the numbers may be anywhere: where networks choose between close ones, as detectors that sort do, rounding
# decides. What a wrong graph computes is wrong nearly everywhere.
_FAR, _MOST_FAR = {"float32": 1e-2, "bfloat16": 0.25, "float16": 0.25}, 0.1


class Sample(Protocol):
    """A frame and the leaves of what the network returned for it."""

    @property
    def image(self) -> Tensor:
        """`(1, C, H, W)` float32."""
        ...

    @property
    def leaves(self) -> list[object]:
        """Tensors, numbers, strings and None."""
        ...

    def in_float64(self) -> list[object]:
        """The leaves without the rounding of float32."""
        ...


def check_sample(model: CompiledModel, sample: Sample, name: str) -> None:
    """Runs one frame.

    Args:
      model: compiled for the size of the sample.
      sample: what the network itself returned.
      name: of the network, for messages.

    Raises:
      PassError: one line that says what is wrong.
    """
    try:
        found = _frame(model.specialise(sample.image).program, sample.image.to(model.device))
    except FluxShardError as error:
        raise PassError(f"{name} was compiled, and its first frame fails: {' '.join(str(error).split())}") from error
    except Exception as error:  # islands run the model's own ops
        text = " ".join(str(error).split())[:300]
        raise PassError(
            f"{name} was compiled, and its first frame fails: {type(error).__name__}: {text}; please report it"
        ) from error
    if len(found) != len(sample.leaves):
        raise PassError(f"{name} returns {len(sample.leaves)} values, and its compiled model {len(found)}")
    for index, (one, two) in enumerate(zip(found, sample.leaves, strict=True)):
        wrong = _difference(one, two, _FAR[model.dtype])
        if wrong and not _is_rounding(one, two, sample.in_float64()[index]):
            raise PassError(
                f"{name} and its compiled model differ in output {index}: {wrong}; please report it "
                "(compile(..., check=False) leaves this check out)"
            )


def _frame(program: Program, image: Tensor) -> list[object]:
    """Leaves of one frame that is computed whole; no cache of the input is made, for which code would be generated."""
    engine = program.engine
    tau = (0.0,) * len(engine.plan.layers)
    control = StepControl(keyframe=True, rfap="off", remap=True, tau=tau)
    return pytree.tree_leaves(program.unflatten(engine.step(engine.new_state(), image, None, control).leaves))


def _difference(found: object, wanted: object, far: float) -> str:
    """What is wrong with a leaf; empty where nothing is."""
    if not isinstance(wanted, Tensor):
        return "" if isinstance(found, Tensor) is False and found == wanted else f"{found!r} instead of {wanted!r}"
    if not isinstance(found, Tensor):
        return f"a {type(found).__name__} instead of a tensor"
    if found.shape != wanted.shape:
        return f"shape {tuple(found.shape)} instead of {tuple(wanted.shape)}"
    if not wanted.is_floating_point() or not wanted.numel():
        return ""  # indices and masks are choices
    one, two = found.detach().cpu().double(), wanted.detach().cpu().double()
    usual = two[two.isfinite()].abs()
    scale = float(usual.max()) if usual.numel() else 0.0
    share = _share_off(one, two, far * scale)
    if share <= _MOST_FAR or _share_off(one.flatten().sort()[0], two.flatten().sort()[0], far * scale) <= _MOST_FAR:
        return ""  # numbers in another order are choices, too
    worst = float((one - two).abs().nan_to_num().max())
    return f"{share:.0%} of its numbers are off, by up to {worst:.3g} (the largest is {scale:.3g})"


def _is_rounding(found: object, wanted: object, exact: object) -> bool:
    """Whether the network's own float32 is about as far from float64: deep networks on noise may amplify rounding."""
    leaves = (found, wanted, exact)
    if not all(isinstance(leaf, Tensor) for leaf in leaves):
        return False
    ours, theirs, right = (leaf.detach().cpu().double() for leaf in leaves if isinstance(leaf, Tensor))
    if not ours.shape == theirs.shape == right.shape:
        return False
    return bool((ours - right).abs().mean() <= 4 * (theirs - right).abs().mean())


def _share_off(one: Tensor, two: Tensor, far: float) -> float:
    return float((~torch.isclose(one, two, rtol=0, atol=far, equal_nan=True)).double().mean())
