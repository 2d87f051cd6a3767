"""Dense networks that train with fixed-point weights and activations, and what they cost.

Values are rounded in the forward pass and gradients go straight through the rounding alone, so that
range, widths and weights all have the gradients of what is left (Bengio et al., arXiv:1308.3432;
widths that are learnt: HGQ, Sun et al., arXiv:2405.00645). Fractional bits f are numbers like any
other: the tree of parameters holds f / `RATE`, because Adam's steps have the size of the learning
rate, and bits have to move by as many times that.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

RATE = 20.0
"""Bit parameters learn by as many times the learning rate of the weights."""
GRANULARITIES = ("layer", "channel", "weight")
MODES = ("RND", "RND_CONV")
"""Roundings of activations: halves up, which logic of adders has too, or to even."""


class Widths(NamedTuple):
    """How many bits numbers have, static: of fixed widths the widths, of learnt ones the start.

    Attributes:
        weight: bits of a weight, its sign among them, or as many for each layer; a bias has twice
            as many.
        activation: bits of what a ReLU gives, which has no sign, or as many for each layer.
        code: bits of a result without a ReLU, its sign among them; never learnt.
        learned: whether those of weights, biases and activations are.
        granularity: one of `GRANULARITIES`: what shares a width; activations of a layer do.
        rounding: one of `MODES`, of activations and codes; weights are rounded by RND.
    """

    weight: int | tuple[int, ...]
    activation: int | tuple[int, ...]
    code: int
    learned: bool = False
    granularity: str = "layer"
    rounding: str = "RND_CONV"

    def of(self, layer: int) -> "Widths":
        """Those of one layer.

        Examples:
            >>> Widths((6, 4), 8, 10).of(1)[:3]
            (4, 8, 10)
        """
        weight, activation = (bits if isinstance(bits, int) else bits[layer] for bits in self[:2])
        return self._replace(weight=weight, activation=activation)


class Signal(NamedTuple):
    """Values (..., d) on their grid, and the bits () of one, without its sign."""

    values: Array
    bits: Array


class Output(NamedTuple):
    """What a quantised network gives.

    codes: (n, d) result of the last layer.
    hidden: results (n, width) of the layers before it.
    ebops: (), the differentiable estimate of the cost, see `magnitude_bits`.
    bits: (), the sum of all widths, without signs: those of weights, biases and activations that
        share an f count once.
    """

    codes: Array
    hidden: tuple[Array, ...]
    ebops: Array
    bits: Array


def rectified(n: int, linear: Sequence[int] = ()) -> list[bool]:
    """Which of n layers have a ReLU: all but the last and those that are `linear`.

    Examples:
        >>> rectified(4, linear=(1,))
        [True, False, True, False]
    """
    return [number not in (*linear, n - 1) for number in range(n)]


def power_of_two(f: Array) -> Array:
    """2^f of whole numbers f, exactly (`exp2` is not), with the gradient ln 2 2^f."""
    exact = jnp.ldexp(1.0, lax.stop_gradient(f).astype(jnp.int32))
    return exact * (1 + np.float32(np.log(2)) * (f - lax.stop_gradient(f)))


def whole(f: Array) -> Array:
    """The nearest whole number, with the gradient of f itself."""
    return f + lax.stop_gradient(jnp.round(f) - f)


def quantised(
    x: Array,
    fraction: Array,
    low: Array | float = -np.inf,
    high: Array | float = np.inf,
    rounding: str = "RND",
) -> Array:
    """The nearest multiples of 2^-fraction, of x within [low, high], which are such multiples.

    As the range is cut before the rounding, gradients of x are 1 in the range and 0 outside, and
    that of the fraction is ln 2 (x - y), 0 outside as well.

    Args:
        x: (...) float32.
        fraction: whole numbers, which broadcast to x.
        rounding: one of `MODES`.

    Examples:
        >>> quantised(jnp.array([0.3, 0.375, 9.0]), jnp.array(2.0), -2.0, 1.75).tolist()
        [0.25, 0.5, 1.75]
    """
    low, high = lax.stop_gradient(low), lax.stop_gradient(high)
    scale = power_of_two(fraction)
    scaled = jnp.where(x > high, high, jnp.where(x < low, low, x)) * scale
    rounded = jnp.round(scaled) if rounding == "RND_CONV" else jnp.floor(scaled + 0.5)
    return (scaled + lax.stop_gradient(rounded - scaled)) / scale


def symmetric(x: Array, fraction: Array, bits: int) -> Array:
    """`quantised` to so many bits, the sign among them, by SAT_SYM: as far down as up."""
    high = (2.0 ** (bits - 1) - 1) / power_of_two(fraction)
    return quantised(x, fraction, -high, high)


def magnitude_bits(values: Array, fraction: Array) -> Array:
    """max(0, i + f), the bits of the largest of the values that share an f, shaped as `fraction`.

    i is that of the values as they are, so that the gradient of f is 1, and 0 where all are zero:
    what has no bits costs nothing.

    Args:
        values: (...), multiples of 2^-fraction.
        fraction: f, of as many axes, 1 long where it is shared.
    """
    shared = tuple(a for a in range(values.ndim) if fraction.shape[a] < values.shape[a])
    counts = lax.stop_gradient(jnp.abs(values) * power_of_two(fraction))
    largest = jnp.max(counts, axis=shared, keepdims=True)
    bits = jnp.frexp(largest)[1].astype(jnp.float32)
    return jnp.where(largest > 0, lax.stop_gradient(bits - fraction) + fraction, 0.0)


def fractions_shape(shape: Sequence[int], granularity: str) -> tuple[int, ...]:
    """Shape of the fractions of an array (..., channels)."""
    shared = {"layer": (1,) * len(shape), "channel": (1,) * (len(shape) - 1) + (shape[-1],)}
    return shared.get(granularity, tuple(shape))


def weights(tree: Mapping[str, Array], types: Mapping[str, Array], widths: Widths) -> dict:
    """Name -> (values on the grid, fractions) of "kernel" and "bias" of a layer.

    Learnt fractions are parameters, and nothing is cut: a type has the integer bits that its
    numbers need. Others are constants in `types`, and what is out of range saturates.
    """
    done = {}
    for name, bits in (("kernel", widths.weight), ("bias", 2 * widths.weight)):
        if widths.learned:
            f = whole(RATE * tree[f"{name}_bits"])
            done[name] = quantised(tree[name], f), f
        else:
            f = types[f"{name}_fraction"]
            done[name] = symmetric(tree[name], f, bits), f
    return done


def activation_fraction(
    tree: Mapping[str, Array], types: Mapping[str, Array], widths: Widths, relu: bool
) -> Array:
    """f () of a layer's result: what is left of its bits; learnt ones leave it one bit or more."""
    if not relu:
        return widths.code - types["integer"]
    if widths.learned:
        return jnp.maximum(whole(RATE * tree["activation_bits"]), 1 - types["integer"])
    return widths.activation - types["integer"]


class QuantizedLayer(nn.Module):
    """ReLU(x kernel + bias), or without ReLU, as fixed-point numbers: ufixed, or fixed, and SAT.

    Parameters kernel (inputs, features), bias (features,), with learnt widths kernel_bits,
    bias_bits and activation_bits, f / `RATE`. In "types" the integer bits of the result, that of a
    sign among them, and fractions that are not learnt.
    """

    features: int
    widths: Widths
    relu: bool = True

    @nn.compact
    def __call__(self, x: Signal) -> tuple[Signal, Array, Array]:
        """(n, inputs) -> (n, features), EBOPs () and the sum of widths ()."""
        shapes = {"kernel": (x.values.shape[-1], self.features), "bias": (self.features,)}
        start = {"kernel": nn.initializers.glorot_uniform(), "bias": nn.initializers.zeros}
        tree, types = (
            {},
            {"integer": self.variable("types", "integer", lambda: jnp.array(4.0)).value},
        )
        for name, shape in shapes.items():
            tree[name] = self.param(name, start[name], shape)
            shared = fractions_shape(shape, self.widths.granularity)
            f = jnp.full(shared, self.widths.weight - 1.0)
            if self.widths.learned:
                tree[f"{name}_bits"] = self.param(f"{name}_bits", lambda _, f=f: f / RATE)
            else:
                name = f"{name}_fraction"
                types[name] = self.variable("types", name, lambda f=f: f).value
        if self.widths.learned and self.relu:
            f = jnp.array((self.widths.activation - 4.0) / RATE)
            tree["activation_bits"] = self.param("activation_bits", lambda _: f)
        (kernel, kernel_f), (bias, bias_f) = weights(tree, types, self.widths).values()
        y = x.values @ kernel + bias
        bits = magnitude_bits(kernel, kernel_f)
        cost = x.bits * jnp.sum(bits) * (kernel.size / bits.size)
        total = jnp.sum(bits)
        bits = magnitude_bits(bias, bias_f)
        cost += jnp.sum(bits) * (bias.size / bits.size)
        total += jnp.sum(bits)
        f = activation_fraction(tree, types, self.widths, self.relu)
        size, step = power_of_two(types["integer"] - (not self.relu)), 1 / power_of_two(f)
        low = 0.0 if self.relu else -size
        y = quantised(y, f, low, size - step, self.widths.rounding)
        bits = jnp.maximum(types["integer"] + f - (not self.relu), 0.0)
        return Signal(y, bits), cost, total + bits


class QuantizedNetwork(nn.Module):
    """Dense layers `features` wide on inputs of `input_bits`, which are without the sign.

    ReLU: see `rectified`. The layers are called "0", "1", ...
    """

    features: tuple[int, ...]
    widths: Widths
    input_bits: int
    linear: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Array) -> Output:
        """Inputs (n, d) on their grid."""
        signal, hidden = Signal(x, jnp.array(float(self.input_bits))), []
        ebops = bits = jnp.array(0.0)
        relus = rectified(len(self.features), self.linear)
        for number, (features, relu) in enumerate(zip(self.features, relus, strict=True)):
            layer = QuantizedLayer(features, self.widths.of(number), relu, name=str(number))
            signal, cost, total = layer(signal)
            hidden.append(signal.values)
            ebops, bits = ebops + cost, bits + total
        return Output(hidden[-1], tuple(hidden[:-1]), ebops, bits)


def folded(
    kernel: np.ndarray, bias: np.ndarray, norm: Mapping[str, np.ndarray], eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a layer and the batch normalisation after it, at its running statistics.

    Args:
        kernel: (..., features).
        bias: (features,).
        norm: "scale", "bias", "mean", "var" (features,).
        eps: that is added to the variance.
    """
    factor = norm["scale"] / (norm["var"] + eps) ** 0.5
    return kernel * factor, (bias - norm["mean"]) * factor + norm["bias"]


def integer_bits(largest: np.ndarray, bits: int = 24) -> np.ndarray:
    """i, without a sign, of the smallest type with so many bits that `largest` rounds to; 0 of 0.

    Examples:
        >>> integer_bits(np.array([0.0, 0.9, 1.0, 3.97]), bits=6).tolist()
        [0, 0, 1, 3]
    """
    mantissa, exponent = np.frexp(np.asarray(largest, np.float64))
    return np.where(mantissa >= 1 - 0.5 ** (bits + 1), exponent + 1, exponent)


def calibrated(
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    x: np.ndarray,
    fraction: int,
    widths: Widths,
    linear: Sequence[int] = (),
    compared: int | None = None,
) -> tuple[dict, dict]:
    """("params", "types") of a `QuantizedNetwork` that starts from a float one.

    Args:
        layers: kernels (inputs, features) and biases (features,).
        x: inputs (n, d) of held-out background: results are as large, and one bit more.
        fraction: fractional bits of the inputs: biases start with none below those of products.
        linear: layers without a ReLU, see `rectified`.
        compared: how many layers give what the last one's result is compared with; its type reaches
            as far then, however little a short training has it reach, and learnt widths of every
            weight start from those of channels. None or 0: no layers do.
    """
    params, types = {}, {}
    relus, granularity = rectified(len(layers), linear), widths.granularity
    if widths.learned:
        granularity = "channel" if compared and granularity == "weight" else "layer"
    for number, ((kernel, bias), relu) in enumerate(zip(layers, relus, strict=True)):
        x = x.astype(np.float64) @ kernel + bias
        x = np.maximum(x, 0) if relu else x
        integer = integer_bits(np.abs(x).max()) + 1 + (not relu)
        tree: dict[str, Any] = {"kernel": kernel, "bias": bias}
        own: dict[str, Any] = {"integer": integer}
        here = widths.of(number)
        for name, bits in (("kernel", here.weight), ("bias", 2 * here.weight)):
            shared = fractions_shape(tree[name].shape, granularity)
            axes = tuple(a for a, n in enumerate(shared) if n < tree[name].shape[a])
            largest = np.abs(tree[name]).max(axis=axes, keepdims=True)
            f = bits - 1 - integer_bits(largest, bits - 1)
            if name == "bias":
                f = np.minimum(f, fraction)
            else:
                fraction += int(f.max())
            if widths.learned:
                shape = fractions_shape(tree[name].shape, widths.granularity)
                tree[f"{name}_bits"] = np.broadcast_to(f / RATE, shape)
            else:
                own[f"{name}_fraction"] = f
        fraction = (here.activation if relu else here.code) - integer
        if widths.learned and relu:
            tree["activation_bits"] = fraction / RATE
        params[str(number)], types[str(number)] = tree, own
    if compared:
        own["integer"] = max(own["integer"], types[str(compared - 1)]["integer"] + 1)
    return jax.tree.map(lambda a: np.asarray(a, np.float32), (params, types))


def integers(
    params: Mapping, types: Mapping, widths: Widths, linear: Sequence[int] = ()
) -> dict[str, dict[str, np.ndarray]]:
    """The layers of a network as they go into firmware, all int32; `linear`: see `rectified`.

    Returns:
        Number of the layer -> "kernel" (inputs, features) and "bias" (features,), counts, and
        width and integer bits (2,) of their types, "kernel_type" and "bias_type", signed and as
        narrow as their numbers, and of "result_type": ufixed after a ReLU, else fixed, of
        `widths.rounding` and SAT.
    """
    relus = rectified(len(params), linear)

    @jax.jit
    def grids(params: Mapping, types: Mapping) -> dict:
        return {
            number: (
                weights(tree, types[number], widths.of(int(number))),
                activation_fraction(
                    tree, types[number], widths.of(int(number)), relus[int(number)]
                ),
            )
            for number, tree in params.items()
        }

    layers = {}
    for number, (constants, f) in jax.tree.map(np.asarray, grids(params, types)).items():
        layer: dict[str, Any] = {}
        for name, (values, fractions) in constants.items():
            used = np.broadcast_to(fractions, values.shape)[values != 0]
            fraction = int(max(used, default=0))
            counts = np.ldexp(values, fraction).astype(np.int32)
            width = int(np.abs(counts).max()).bit_length() + 1
            layer[name] = counts
            layer[f"{name}_type"] = np.array([width, width - fraction], np.int32)
        integer = int(types[number]["integer"])
        layer["result_type"] = np.array([integer + int(f), integer], np.int32)
        layers[number] = layer
    return layers


def set_bits(counts: np.ndarray) -> np.ndarray:
    """Bits from the most to the least significant one that is set; 0 of 0.

    Examples:
        >>> set_bits(np.array([0, 1, 6, -5, 64])).tolist()
        [0, 1, 2, 3, 1]
    """
    size = np.abs(counts.astype(np.int64))
    lowest = np.where(size, size & -size, 1)
    return np.frexp((size // lowest).astype(np.float64))[1]


def ebops(
    layers: Mapping[str, Mapping[str, np.ndarray]], input_bits: int, linear: Sequence[int] = ()
) -> int:
    """Effective bit operations of stored integers: the sum of b_x b_w over products, and of biases.

    b_w counts from the most to the least significant set bit of the constant, b_x the bits of the
    value; neither has the sign. `Output.ebops` is the estimate that trains.

    Args:
        layers: see `integers`.
        input_bits: of an input, without the sign.
        linear: layers without a ReLU, see `rectified`.
    """
    total, bits = 0, input_bits
    for number, relu in enumerate(rectified(len(layers), linear)):
        layer = layers[str(number)]
        total += bits * int(set_bits(layer["kernel"]).sum()) + int(set_bits(layer["bias"]).sum())
        bits = int(layer["result_type"][0]) - (not relu)
    return total
