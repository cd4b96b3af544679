"""Dense engines of other projects on the CPU: all take the same uint8 picture, and normalise it themselves.

Each comes with the precision that it computes in. OpenVINO takes bfloat16 by itself where the processor has it, so both
are asked for. Its int8 comes from NNCF's quantisation after training, calibrated on pictures. What is not installed, or
does not take the network, is left out with the reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._pytree import tree_leaves

Picture = NDArray[np.uint8]  # (H, W, 3)
THREADS = torch.get_num_threads()
NAMES = ("openvino", "openvino_int8", "onnxruntime", "torch")


@dataclass(frozen=True, slots=True)
class Engine:
    """A dense engine, ready to run.

    Attributes:
      name: with the precision.
      precision: "float32", "bfloat16" or "int8".
      run: takes a picture, returns when the outputs are there.
    """

    name: str
    precision: str
    run: Callable[[Picture], object]


class _Tensors(torch.nn.Module):
    """A network as exporters want it: a tuple of tensors."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(leaf for leaf in tree_leaves(self.net(image)) if isinstance(leaf, torch.Tensor))


def normalised(picture: Picture) -> torch.Tensor:
    """`(1, 3, H, W)` float32 in 0..1."""
    return torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0).float().div_(255).contiguous()


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    return bool({"avx512_bf16", "amx_bf16"} & words)


def dense_engines(
    net: torch.nn.Module, size: tuple[int, int], calibration: Sequence[Picture] = (), names: Sequence[str] = NAMES
) -> tuple[list[Engine], list[str]]:
    """All that can be had here, and why others cannot.

    Args:
      net: takes `(1, 3, H, W)` float32.
      size: (H, W).
      calibration: pictures of that size, from which int8 engines take their ranges; none: there are no int8 engines.
      names: of `NAMES`, which are asked for.
    """
    engines: list[Engine] = []
    missing: list[str] = []
    for name, make in zip(NAMES, (_openvino, _openvino_int8, _onnxruntime, _torch), strict=True):
        if name not in names:
            missing.append(f"{name}: not asked for")
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # exporters leave traces in networks
                engines += make(_Tensors(deepcopy(net)).eval(), size, calibration)
        except Exception as error:  # whatever an exporter may raise: the others are measured all the same
            missing.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:120]}")
    if not has_bfloat16():
        missing.append("bfloat16 rows: not on this processor")
        engines = [engine for engine in engines if engine.precision != "bfloat16"]
    return engines, missing


def _openvino(net: torch.nn.Module, size: tuple[int, int], _: Sequence[Picture]) -> Iterator[Engine]:
    model = _converted(net, size)
    for hint, precision in (("f32", "float32"), ("bf16", "bfloat16")):
        yield _openvino_engine(model, hint, precision)


def _openvino_int8(net: torch.nn.Module, size: tuple[int, int], calibration: Sequence[Picture]) -> Iterator[Engine]:
    """Eight bits by NNCF: weights with a range per output channel, activations with one per tensor, not symmetric.

    What NNCF leaves a float is bfloat16 where the processor has it.
    """
    import nncf

    if not calibration:
        raise ValueError("no pictures to calibrate on")
    pictures = nncf.Dataset(list(calibration), lambda picture: normalised(picture).numpy())
    model = nncf.quantize(
        _converted(net, size), pictures, preset=nncf.QuantizationPreset.MIXED, subset_size=len(calibration)
    )
    yield _openvino_engine(model, "bf16" if has_bfloat16() else "f32", "int8")


def _converted(net: torch.nn.Module, size: tuple[int, int]) -> Any:
    """The network as an OpenVINO model that takes `(1, 3, H, W)` float32."""
    import openvino as ov

    with torch.no_grad():
        return ov.convert_model(torch.export.export(net, (torch.zeros(1, 3, *size),)))


def _openvino_engine(model: Any, hint: str, precision: str) -> Engine:
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model.clone())
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).scale(255.0)
    steps.input().model().set_layout(ov.Layout("NCHW"))
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS}
    request = ov.Core().compile_model(steps.build(), "CPU", settings).create_infer_request()
    return Engine(
        f"OpenVINO {ov.__version__.partition('-')[0]}, {precision}",
        precision,
        lambda picture: request.infer({0: picture[None]}, share_inputs=True, share_outputs=True),
    )


def _onnxruntime(net: torch.nn.Module, size: tuple[int, int], _: Sequence[Picture]) -> Iterator[Engine]:
    import onnxruntime as ort

    with TemporaryDirectory() as directory:
        path = Path(directory) / "net.onnx"
        with torch.no_grad():
            torch.onnx.export(net, (torch.zeros(1, 3, *size),), path, dynamo=True, verbose=False)
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    yield Engine(
        f"ONNX Runtime {ort.__version__}, float32",
        "float32",
        lambda picture: session.run(None, {name: normalised(picture).numpy()}),
    )


def _torch(net: torch.nn.Module, size: tuple[int, int], _: Sequence[Picture]) -> Iterator[Engine]:
    for dtype, precision in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        if precision == "bfloat16" and not has_bfloat16():
            continue
        compiled = torch.compile(net, dynamic=False)

        def run(picture: Picture, compiled: Any = compiled, dtype: Any = dtype) -> object:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                return compiled(normalised(picture).to(memory_format=torch.channels_last))

        run(np.zeros((*size, 3), np.uint8))  # compiles
        yield Engine(f"torch.compile {torch.__version__.partition('+')[0]}, {precision}", precision, run)
