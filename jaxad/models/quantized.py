"""Networks that train with fixed-point weights and activations, and what they cost.

A layer is a matrix, a bias and perhaps a ReLU (`jaxad.models.affine`): dense, or a convolution, the
entries of whose matrix share its kernel's weights. Fractional bits f are numbers like any other:
the tree of parameters holds f / `RATE`, because Adam's steps have the size of the learning rate,
and bits have to move by as many times that.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.models.affine import Affine, matrix, output, repeated
from jaxad.models.rounding import (
    fractions_shape,
    integer_bits,
    magnitude_bits,
    power_of_two,
    quantised,
    symmetric,
    whole,
)

RATE = 20.0
"""Bit parameters learn by as many times the learning rate of the weights."""
GRANULARITIES = ("layer", "channel", "weight")


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


def all_but_last(n: int) -> tuple[bool, ...]:
    """Which of n layers have a ReLU, where nothing else is said."""
    return (True,) * (n - 1) + (False,)


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
    sign among them, and fractions that are not learnt; and "rows" of a kernel whose weights are
    shared, as of `Affine`, whose parameters are then those of `calibrated`.
    """

    features: int
    widths: Widths
    relu: bool = True

    @nn.compact
    def __call__(self, x: Signal) -> tuple[Signal, Array, Array]:
        """(n, inputs) -> (n, outputs), EBOPs () and the sum of widths ().

        A weight costs at every place where it is used, and counts once in the sum of widths.
        """
        shapes, rows = {"kernel": (x.values.shape[-1], self.features)}, None
        if self.has_variable("types", "rows"):
            rows = self.get_variable("types", "rows")
            shapes = {"kernel": self.get_variable("params", "kernel").shape}
        outputs = self.features if rows is None else rows.shape[1]
        bias = self.get_variable("params", "bias", jnp.zeros(self.features))
        shapes["bias"] = bias.shape
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
        y = x.values @ matrix(kernel, rows) + repeated(bias, outputs)
        bits = magnitude_bits(kernel, kernel_f)
        cost = x.bits * jnp.sum(matrix(jnp.broadcast_to(bits, kernel.shape), rows))
        total = jnp.sum(bits)
        bits = magnitude_bits(bias, bias_f)
        cost += jnp.sum(bits) * (outputs / bits.size)
        total += jnp.sum(bits)
        f = activation_fraction(tree, types, self.widths, self.relu)
        size, step = power_of_two(types["integer"] - (not self.relu)), 1 / power_of_two(f)
        low = 0.0 if self.relu else -size
        y = quantised(y, f, low, size - step, self.widths.rounding)
        bits = jnp.maximum(types["integer"] + f - (not self.relu), 0.0)
        return Signal(y, bits), cost, total + bits


class QuantizedNetwork(nn.Module):
    """Layers of so many `features` on inputs of `input_bits`, which are without the sign.

    Attributes:
        features: width of a layer, of a convolution its channels.
        relus: which layers have a ReLU; None: `all_but_last`.

    The layers are called "0", "1", ...
    """

    features: tuple[int, ...]
    widths: Widths
    input_bits: int
    relus: tuple[bool, ...] | None = None

    @nn.compact
    def __call__(self, x: Array) -> Output:
        """Inputs (n, d) on their grid."""
        signal, hidden = Signal(x, jnp.array(float(self.input_bits))), []
        ebops = bits = jnp.array(0.0)
        relus = self.relus or all_but_last(len(self.features))
        for number, (features, relu) in enumerate(zip(self.features, relus, strict=True)):
            layer = QuantizedLayer(features, self.widths.of(number), relu, name=str(number))
            signal, cost, total = layer(signal)
            hidden.append(signal.values)
            ebops, bits = ebops + cost, bits + total
        return Output(hidden[-1], tuple(hidden[:-1]), ebops, bits)


def calibrated(
    layers: Sequence[Affine],
    x: np.ndarray,
    fraction: int,
    widths: Widths,
    compared: int | None = None,
) -> tuple[dict, dict]:
    """("params", "types") of a `QuantizedNetwork` that starts from a float one.

    Args:
        layers: of the float network.
        x: inputs (n, d) of held-out background: results are as large, and one bit more.
        fraction: fractional bits of the inputs: biases start with none below those of products.
        compared: how many layers give what the last one's result is compared with; its type reaches
            as far then, however little a short training has it reach, and learnt widths of every
            weight start from those of channels. None or 0: no layers do.
    """
    params, types = {}, {}
    granularity = widths.granularity
    if widths.learned:
        granularity = "channel" if compared and granularity == "weight" else "layer"
    for number, layer in enumerate(layers):
        x, relu = output(layer, x.astype(np.float64)), layer.relu
        integer = integer_bits(np.abs(x).max()) + 1 + (not relu)
        tree: dict[str, Any] = {"kernel": layer.kernel, "bias": layer.bias}
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
    params, types = jax.tree.map(lambda a: np.asarray(a, np.float32), (params, types))
    for number, layer in enumerate(layers):
        if layer.rows is not None:
            types[str(number)]["rows"] = layer.rows
    return params, types
