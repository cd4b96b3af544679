"""The same network without reuse: what incremental frames are compared with.

    python -m benchmarks.gpu_dense yolo11m 1024 max-autotune

compiles a plan for `torch.compile`'s cache, in a process of its own that can be given up.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fluxshard.ir.params import Conv2d, ConvTranspose2d, Island, Ref, UpsampleNearest
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.ops.reference import REFERENCE, run_island

ROOT = Path(__file__).resolve().parents[1]


class PlanModule(nn.Module):
    """A plan as a module that computes every cell, channels last: straight-line code for eager torch and compilers.

    Args:
      plan, weights: the network.
      dtype: of weights and features. Islands that refuse it run in float32.

    Attributes:
      islands: dtype of each island.
    """

    def __init__(self, plan: Plan, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.plan = plan
        self.dtype = dtype
        self.islands: dict[str, torch.dtype] = {}
        self._graph = fx.Graph()
        self._root = nn.Module()
        self._weights = weights
        self._seen: dict[tuple[str, torch.dtype], fx.Node] = {}
        nodes: dict[str, fx.Node] = {plan.input: self._graph.placeholder("image")}
        for layer in plan.layers:
            if isinstance(layer.params, Island):
                self._island(layer, layer.params, nodes)
            else:
                nodes[layer.output] = self._layer(layer, nodes)
        self._graph.output(tuple(leaf.literal if leaf.value is None else nodes[leaf.value] for leaf in plan.outputs))
        self.body = fx.GraphModule(self._root, self._graph)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        del self._weights, self._seen, self._graph, self._root
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Leaves of the model's result for an image of `dtype`."""
        result: tuple[Tensor, ...] = self.body(image)
        return result

    def _weight(self, name: str, dtype: torch.dtype) -> fx.Node:
        key = name, dtype
        if key not in self._seen:
            label, tensor = f"w{len(self._seen)}", self._weights[name].detach()
            tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
            self._root.register_buffer(label, tensor.clone())
            self._seen[key] = self._graph.get_attr(label)
        return self._seen[key]

    def _layer(self, layer: LayerSpec, nodes: Mapping[str, fx.Node]) -> fx.Node:
        tensors = [nodes[name] for name in layer.inputs]
        if isinstance(layer.params, UpsampleNearest):  # the reference repeats rows and columns, which takes longer
            factor = [float(number) for number in layer.params.factor]
            return self._graph.call_function(F.interpolate, tuple(tensors), {"scale_factor": factor, "mode": "nearest"})
        roles = {role: self._weight(name, self.dtype) for role, name in layer.weights}
        if isinstance(layer.params, Conv2d | ConvTranspose2d) and len(tensors) == 2:
            roles["residual"] = tensors.pop()
        if "operand" in roles:
            tensors.append(roles.pop("operand"))
        constants = {f.name: getattr(layer.params, f.name) for f in fields(layer.params)}
        return self._graph.call_function(REFERENCE[layer.op], tuple(tensors), {**roles, **constants})

    def _island(self, layer: LayerSpec, island: Island, nodes: dict[str, fx.Node]) -> None:
        dtype, results = self._island_dtype(layer, island)
        self.islands[layer.name] = dtype
        local: dict[str, Any] = {role: self._weight(name, dtype) for role, name in layer.weights}
        for name in layer.inputs:
            local[name] = nodes[name] if dtype == self.dtype else self._cast(nodes[name], dtype)
        for step in island.steps:
            target = step.target if step.target == "getitem" else _overload(step.target)
            function: Callable[..., Any] = _item if target == "getitem" else target  # type: ignore[assignment]
            args = tuple(_resolve(argument, local) for argument in step.args)
            kwargs = {key: _resolve(argument, local) for key, argument in step.kwargs}
            local[step.name] = self._graph.call_function(function, args, kwargs)
        read = {name for other in self.plan.layers for name in other.inputs}
        for name in layer.outputs:
            cast = name in read and results[name] != self.dtype
            nodes[name] = self._cast(local[name], self.dtype) if cast else local[name]

    def _cast(self, node: fx.Node, dtype: torch.dtype) -> fx.Node:
        return self._graph.call_method("to", (node, dtype))

    def _island_dtype(self, layer: LayerSpec, island: Island) -> tuple[torch.dtype, dict[str, torch.dtype]]:
        """What an island can be run in, and what its outputs are then."""
        for dtype in (self.dtype, torch.float32):
            names = {
                name: torch.empty(self.plan.value(name).shape, dtype=dtype, device="meta") for name in layer.inputs
            }
            for role, name in layer.weights:
                weight = self._weights[name]
                kind = dtype if weight.is_floating_point() else weight.dtype
                names[role] = torch.empty(weight.shape, dtype=kind, device="meta")
            try:
                results = run_island(island.steps, names)
            except RuntimeError:
                continue
            return dtype, {name: getattr(results[name], "dtype", dtype) for name in layer.outputs}
        raise AssertionError(f"island {layer.name} runs neither in {self.dtype} nor in float32")


def _item(values: Any, index: int) -> Any:
    return values[index]


def _overload(name: str) -> Callable[..., Any]:
    namespace, op, overload = name.split(".")
    found: Callable[..., Any] = getattr(getattr(getattr(torch.ops, namespace), op), overload)
    return found


def _resolve(argument: object, local: Mapping[str, Any]) -> Any:
    if isinstance(argument, Ref):
        return local[argument.name]
    if isinstance(argument, tuple):
        return [_resolve(item, local) for item in argument]
    if isinstance(argument, str) and argument.startswith("torch."):
        return getattr(torch, argument.removeprefix("torch."))
    return argument


# ---- contenders


@dataclass(slots=True)
class Contender:
    """A dense engine.

    Attributes:
      name: for reports.
      run: one frame, on the current stream; None where it is not available, for a reason.
      outputs: what the frame gives.
      reason: why there is no `run`.
      build_s: how long it took to make.
      notes: what else is to be reported.
    """

    name: str
    run: Callable[[], object] | None = None
    outputs: Callable[[], tuple[Tensor, ...]] | None = None
    reason: str = ""
    build_s: float = 0.0
    notes: dict[str, object] = field(default_factory=dict)


def attempt(name: str, build: Callable[[], Contender]) -> Contender:
    """A contender, or the reason why there is none: no other engine's trouble ends a benchmark."""
    started = time.perf_counter()
    try:
        made = build()
    except Exception as error:
        traceback.print_exc(limit=3, file=sys.stderr)
        lines = str(error).strip().splitlines() or [""]
        made = Contender(name, reason=f"{type(error).__name__}: {lines[0][:300]}")
    made.build_s = time.perf_counter() - started
    return made


def eager(module: PlanModule, image: Tensor) -> Contender:
    """Torch as it comes, channels last."""
    return Contender("torch eager", run=lambda: module(image), outputs=lambda: module(image))


def graphed(module: PlanModule, image: Tensor) -> Contender:
    """The same kernels as one CUDA graph: torch without the time that launching takes."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            module(image)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = module(image)

    def outputs() -> tuple[Tensor, ...]:
        graph.replay()
        return tuple(result.clone() for result in results)

    return Contender("torch CUDA graph", run=graph.replay, outputs=outputs)


def compiled(module: PlanModule, image: Tensor, mode: str) -> Contender:
    """`torch.compile` in a mode that records CUDA graphs; fails if it does not, or makes several.

    Run it under `torch.compiler.set_stance("fail_on_recompile")`.
    """
    import torch._dynamo
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    function = torch.compile(module, mode=mode, fullgraph=True, dynamic=False)
    for _ in range(4):
        torch.compiler.cudagraph_mark_step_begin()
        function(image)
    torch.cuda.synchronize()
    skips, graphs = counters["inductor"]["cudagraph_skips"], counters["stats"]["unique_graphs"]
    if skips or graphs != 1:
        raise RuntimeError(f"torch.compile skipped CUDA graphs {skips} times and made {graphs} graphs: not comparable")

    def run() -> object:
        torch.compiler.cudagraph_mark_step_begin()
        return function(image)

    def outputs() -> tuple[Tensor, ...]:
        result: tuple[Tensor, ...] = run()  # type: ignore[assignment]
        return tuple(leaf.clone() for leaf in result)

    notes: dict[str, object] = {"mode": mode, "cudagraph_skips": skips, "unique_graphs": graphs}
    return Contender(f"torch.compile {mode}", run=run, outputs=outputs, notes=notes)


def onnxruntime(module: PlanModule, image: Tensor) -> Contender:
    """ONNX Runtime's CUDA provider, inputs and outputs bound to GPU memory."""
    name = "ONNX Runtime CUDA"
    if importlib.util.find_spec("onnxruntime") is None:
        return Contender(name, reason="not available: onnxruntime is not installed")
    import numpy as np
    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return Contender(name, reason=f"not available: this build has {', '.join(ort.get_available_providers())}")
    with contextlib.redirect_stdout(sys.stderr), tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        torch.onnx.export(module, (image,), file.name, dynamo=False, input_names=["image"], opset_version=17)
        session = ort.InferenceSession(file.name, providers=["CUDAExecutionProvider"])
    if session.get_providers()[0] != "CUDAExecutionProvider":
        return Contender(name, reason="not available: the CUDA provider could not be loaded")
    plain = image.contiguous()
    results = [torch.empty_like(leaf, memory_format=torch.contiguous_format) for leaf in module(image)]
    kinds = {torch.float16: np.float16, torch.float32: np.float32}
    binding = session.io_binding()
    binding.bind_input("image", "cuda", 0, kinds[plain.dtype], tuple(plain.shape), plain.data_ptr())
    for output, leaf in zip(session.get_outputs(), results, strict=True):
        binding.bind_output(output.name, "cuda", 0, kinds[leaf.dtype], tuple(leaf.shape), leaf.data_ptr())

    def run() -> object:
        session.run_with_iobinding(binding)  # on a stream of its own, which it waits for
        return plain

    def outputs() -> tuple[Tensor, ...]:
        run()
        return tuple(leaf.clone() for leaf in results)

    return Contender(name, run=run, outputs=outputs, notes={"version": ort.__version__})


def tensorrt(module: PlanModule, image: Tensor) -> Contender:
    """TensorRT through torch_tensorrt, replayed as a CUDA graph."""
    name = "TensorRT"
    if importlib.util.find_spec("torch_tensorrt") is None:
        return Contender(name, reason="not available: torch_tensorrt is not installed")
    import torch_tensorrt

    function = torch_tensorrt.compile(module, ir="dynamo", inputs=[image], use_explicit_typing=True)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            function(image)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = function(image)

    def outputs() -> tuple[Tensor, ...]:
        graph.replay()
        return tuple(leaf.clone() for leaf in results)

    return Contender(name, run=graph.replay, outputs=outputs, notes={"version": torch_tensorrt.__version__})


def compile_ahead(name: str, size: int, mode: str, timeout_s: float) -> tuple[str, float]:
    """Compiles a plan in another process, for the cache that `compiled` finds it in.

    Returns:
      the reason why it could not, or an empty string; seconds.
    """
    if timeout_s < 20:
        return "skipped: no time left", 0.0
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.gpu_dense", name, str(size), mode]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors, text=True, start_new_session=True
        )
        try:
            status = process.wait(timeout_s)
        except BaseException as error:  # also where the benchmark itself is interrupted
            os.killpg(process.pid, signal.SIGKILL)  # with the compilers that it has started
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return f"skipped: compiling takes more than {timeout_s:.0f} s", time.perf_counter() - started
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["no message"])[-1][:300]
    return "" if status == 0 else f"compiling failed: {last}", time.perf_counter() - started


def main() -> None:
    """Compiles one plan."""
    from benchmarks.plans import load_plan, seeded_weights

    name, size, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    plan = load_plan(name, size)
    torch.backends.cudnn.benchmark = True
    with torch.no_grad():
        module = PlanModule(plan, seeded_weights(plan), torch.float16).cuda()
        image = torch.rand(plan.value(plan.input).shape, device="cuda").half()
        compiled(module, image.to(memory_format=torch.channels_last), mode)


if __name__ == "__main__":
    main()
