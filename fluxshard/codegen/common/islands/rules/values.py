"""ATen ops that compute: `op name -> rule(builder, *args, **kwargs)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from fluxshard.codegen.common.islands.builder import Builder, Operand, Unsupported
from fluxshard.codegen.common.islands.rules.views import Result, Rule
from fluxshard.codegen.common.islands.tensors import View
from fluxshard.codegen.common.literals import ACTIVATION_NAMES, literal


def _act(name: str, first: float = 0.0, second: float = 0.0) -> str:
    return f"activate<{ACTIVATION_NAMES[name]}>({{0}}, nullptr, {literal(first)}, {literal(second)})"


def _unary(expression: str) -> Rule:
    return lambda b, x: b.map(expression, x)


def _numbered(name: str, *defaults: float) -> Rule:
    """An activation with numbers."""

    def rule(b: Builder, x: View, *numbers: float) -> View:
        return b.map(_act(name, *(*numbers, *defaults[len(numbers) :])), x)

    return rule


def _gelu(b: Builder, x: View, approximate: str = "none") -> View:
    return b.map(_act("gelu" if approximate == "none" else "gelu_tanh"), x)


def _elu(b: Builder, x: View, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> View:
    if (scale, input_scale) != (1, 1):
        raise Unsupported("an elu with scales")
    return b.map(_act("elu", alpha), x)


def _clamp(b: Builder, x: View, low: float | None = None, high: float | None = None) -> View:
    if isinstance(low, View) or isinstance(high, View):
        raise Unsupported("a clamp between tensors")
    return b.map(_act("clamp", float("-inf") if low is None else low, float("inf") if high is None else high), x)


def _binary(sign: str) -> Rule:
    def rule(b: Builder, x: Operand, y: Operand, *, alpha: float = 1, rounding_mode: str | None = None) -> View:
        if rounding_mode is not None:
            raise Unsupported("a division that rounds")
        scaled = "{1}" if alpha == 1 else f"{{1}} * {literal(float(alpha))}"
        return b.map(f"({{0}} {sign} {scaled})", x, y)

    return rule


def _rsub(b: Builder, x: Operand, y: Operand, alpha: float = 1) -> View:
    return b.map(f"({{1}} - {{0}} * {literal(float(alpha))})", x, y)


def _of_two(name: str) -> Rule:
    return lambda b, x, y: b.map(f"{name}({{0}}, {{1}})", x, y)


_POWERS = {
    2.0: "square_v({0})",
    3.0: "cube_v({0})",
    0.5: "sqrt_v({0})",
    -0.5: "(1.0f / sqrt_v({0}))",
    -1.0: "(1.0f / {0})",
}


def _pow(b: Builder, x: View, exponent: Operand) -> View:
    if not isinstance(x, View) or isinstance(exponent, View) or float(exponent) not in _POWERS:
        raise Unsupported("a power that is not one of " + ", ".join(map(str, _POWERS)))
    return b.map(_POWERS[float(exponent)], x)


def _softmax(b: Builder, x: View, dim: int, dtype: object = None) -> View:
    return b.softmax(x, dim)


def _log_softmax(b: Builder, x: View, dim: int, dtype: object = None) -> View:
    return b.softmax(x, dim, log=True)


def _reduction(kind: str) -> Rule:
    def rule(
        b: Builder, x: View, dim: int | Sequence[int] | None = (), keepdim: bool = False, *, dtype: object = None
    ) -> View:
        return b.reduce(x, [dim] if isinstance(dim, int) else dim or (), kind, keepdim)

    return rule


def _norm(
    b: Builder, x: View, order: float = 2, dim: Sequence[int] | None = None, keepdim: bool = False, *,
    dtype: object = None,
) -> View:  # fmt: skip
    if order != 2:
        raise Unsupported("a norm that is not Euclidean")
    return b.map("sqrt_v({0})", b.reduce(b.map("square_v({0})", x), dim or (), "sum", keepdim))


def _addcmul(b: Builder, x: View, y: View, z: View, *, value: float = 1) -> View:
    return b.map(f"({{0}} + {{1}} * {{2}} * {literal(float(value))})", x, y, z)


def _max(b: Builder, x: View, dim: int, keepdim: bool = False) -> Result:
    return b.reduce(x, [dim], "max", keepdim), None


def _min(b: Builder, x: View, dim: int, keepdim: bool = False) -> Result:
    return b.reduce(x, [dim], "min", keepdim), None


def _pooled(kind: str, pair: bool) -> Rule:
    def rule(b: Builder, x: View, output_size: int | Sequence[int]) -> Result:
        sizes = [output_size] * 2 if isinstance(output_size, int) else list(output_size)
        *front, h, w = x.shape
        if h % sizes[0] or w % sizes[1]:
            raise Unsupported(f"an adaptive pooling of {h}x{w} to {sizes[0]}x{sizes[1]}, which does not divide it")
        parts = b.reshape(x, (*front, sizes[0], h // sizes[0], sizes[1], w // sizes[1]))
        result = b.reduce(parts, (-3, -1), kind, False)
        return (result, None) if pair else result

    return rule


def _matmul(b: Builder, x: View, y: View) -> View:
    left = x.with_axis(0) if len(x.shape) == 1 else x
    right = y.with_axis(1) if len(y.shape) == 1 else y
    if len(right.shape) == 2 and len(left.shape) > 2:  # many rows at once
        flat = b.product(b.reshape(left, (-1, left.shape[-1])), right)
        made = b.reshape(flat, (*left.shape[:-1], right.shape[-1]))
    else:
        made = b.product(left, right)
    if len(y.shape) == 1:
        made = made.without_axes([-1])
    return made.without_axes([-2 if len(y.shape) > 1 else -1]) if len(x.shape) == 1 else made


def _addmm(b: Builder, bias: View, x: View, y: View, *, beta: float = 1, alpha: float = 1) -> View:
    made = b.product(x, y)
    return b.map(f"({{0}} * {literal(float(beta))} + {{1}} * {literal(float(alpha))})", bias, made)


def _linear(b: Builder, x: View, weight: View, bias: View | None = None) -> View:
    made = _matmul(b, x, weight.transposed(0, 1))
    return made if bias is None else b.map("({0} + {1})", made, bias)


def _convolution(
    b: Builder, x: View, weight: View, bias: View | None = None, stride: Sequence[int] = (1,),
    padding: Sequence[int] | str = (0,), dilation: Sequence[int] = (1,), groups: int = 1,
) -> View:  # fmt: skip
    """Without a window: a product with the weight, on the left, for the cells of each group."""
    kernel = weight.shape[2:]
    if len(kernel) == 1 and kernel[0] > 1 and groups == 1:
        return _along(b, x, weight, bias, stride[0], padding, dilation[0])
    if any(n != 1 for n in (*kernel, *stride)) or (not isinstance(padding, str) and any(padding)):
        raise Unsupported(f"a convolution with a window of {'x'.join(map(str, kernel))}")
    n, c, *cells = x.shape
    outputs = weight.shape[0]
    w = b.reshape(weight, (groups, outputs // groups, c // groups))
    if prod(cells) == 1:
        made = b.reshape(b.product(w, b.reshape(x, (n, groups, c // groups, 1))), (n, outputs, *cells))
    else:  # batches of rows: code.py puts them together where they are neighbours
        rows = b.reshape(x, (n, groups, c // groups, *[1] * (2 - len(cells)), *cells))
        whole = b.new((n, groups, outputs // groups, *rows.shape[3:]))
        b.product_into(whole.permuted((0, 3, 1, 2, 4)), w, rows.permuted((0, 3, 1, 2, 4)))
        made = b.reshape(whole, (n, outputs, *cells))
    return made if bias is None else b.map("({0} + {1})", made, b.reshape(bias, (-1, *[1] * len(cells))))


def _along(
    b: Builder, x: View, weight: View, bias: View | None, stride: int, padding: Sequence[int] | str, dilation: int
) -> View:  # fmt: skip
    """A convolution along one axis: taps side by side are one product."""
    taps = weight.shape[2]
    if isinstance(padding, str):
        raise Unsupported(f"padding {padding}")
    padded = b.padded(x, [(0, 0), (0, 0), (padding[0],) * 2], 0.0)
    count = (padded.shape[2] - dilation * (taps - 1) - 1) // stride + 1
    last = stride * (count - 1) + 1
    parts = [padded.cut(2, tap * dilation, tap * dilation + last, stride) for tap in range(taps)]
    made = b.product(b.reshape(weight.permuted((0, 2, 1)), (weight.shape[0], -1)), b.cat(parts, 1))
    return made if bias is None else b.map("({0} + {1})", made, b.reshape(bias, (-1, 1)))


def _layer_norm(
    b: Builder, x: View, shape: Sequence[int], weight: View | None = None, bias: View | None = None,
    eps: float = 1e-5, cudnn_enable: bool = True,
) -> View:  # fmt: skip
    return _scaled(b, b.normalise(x, len(shape), eps), weight, bias)


def _group_norm(
    b: Builder, x: View, groups: int, weight: View | None = None, bias: View | None = None, eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> View:  # fmt: skip
    n, c, *cells = x.shape
    made = b.normalise(b.reshape(x, (n, groups, c // groups, *cells)), 1 + len(cells), eps)
    ends = [None if end is None else b.reshape(end, (c, *[1] * len(cells))) for end in (weight, bias)]
    return _scaled(b, b.reshape(made, x.shape), *ends)


def _scaled(b: Builder, x: View, weight: View | None, bias: View | None) -> View:
    if weight is not None and bias is not None:
        return b.map("({0} * {1} + {2})", x, weight, bias)
    if weight is not None:
        return b.map("({0} * {1})", x, weight)
    return x if bias is None else b.map("({0} + {1})", x, bias)


def _attention(
    b: Builder, query: View, key: View, value: View, mask: View | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> View:  # fmt: skip
    if is_causal or enable_gqa:
        raise Unsupported("causal or grouped attention")
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = b.product(b.map(f"({{0}} * {literal(factor)})", query), key.transposed(-2, -1))
    if mask is not None:
        scores = b.map("({0} + {1})", scores, mask)
    return b.product(b.softmax(scores, -1), value)


VALUE_RULES: Mapping[str, Rule] = {
    **{name: _unary(_act(name)) for name in ("relu", "relu6", "silu", "hardswish", "hardsigmoid", "mish")},
    "sigmoid": _unary(_act("sigmoid")), "tanh": _unary(_act("tanh")),
    "exp": _unary("exp_v({0})"), "sin": _unary("sin_v({0})"), "cos": _unary("cos_v({0})"),
    "neg": _unary("(-{0})"), "abs": _unary("magnitude({0})"),
    "sqrt": _unary("sqrt_v({0})"), "rsqrt": _unary("(1.0f / sqrt_v({0}))"), "reciprocal": _unary("(1.0f / {0})"),
    "square": _unary("square_v({0})"), "gelu": _gelu, "elu": _elu, "leaky_relu": _numbered("leaky_relu", 0.01),
    "hardtanh": _numbered("clamp", -1.0, 1.0), "clamp": _clamp,
    "clamp_min": lambda b, x, low: _clamp(b, x, low), "clamp_max": lambda b, x, high: _clamp(b, x, None, high),
    "add": _binary("+"), "sub": _binary("-"), "mul": _binary("*"), "div": _binary("/"), "true_divide": _binary("/"),
    "rsub": _rsub, "maximum": _of_two("larger_v"), "minimum": _of_two("smaller_v"), "pow": _pow,
    "softmax": _softmax, "_softmax": _softmax, "log_softmax": _log_softmax, "_log_softmax": _log_softmax,
    "mean": _reduction("mean"), "sum": _reduction("sum"), "amax": _reduction("max"), "amin": _reduction("min"),
    "max": _max, "min": _min, "linalg_vector_norm": _norm, "addcmul": _addcmul,
    "adaptive_avg_pool2d": _pooled("mean", False), "_adaptive_avg_pool2d": _pooled("mean", False),
    "adaptive_max_pool2d": _pooled("max", True), "matmul": _matmul, "bmm": _matmul, "mm": _matmul, "addmm": _addmm,
    "baddbmm": _addmm, "linear": _linear, "conv2d": _convolution, "conv1d": _convolution, "layer_norm": _layer_norm,
    "group_norm": _group_norm, "scaled_dot_product_attention": _attention,
}  # fmt: skip
