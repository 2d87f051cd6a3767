"""Networks of integer layers, as hls4ml synthesises them: types in, counts and their type out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxad.errors import UserError
from jaxad.fixed import accumulators, lanes, layers
from jaxad.fixed.lanes import Bound
from jaxad.fixed.types import FixedType


class Layer(NamedTuple):
    """A dense layer, or a convolution, and its activation.

    Attributes:
        kernel: counts (inputs, outputs), or (rows, columns, channels, outputs).
        bias: counts (outputs,).
        kernel_type, bias_type: their types.
        result_type: of x kernel + bias.
        activation: "" or "relu".
        activation_type: of what the activation gives; None: `result_type`.
        accum: type in which the layer sums; None: exactly, as hls4ml's "auto".
        stride: of a convolution; None for a dense layer.
        padding: of a convolution, "valid" or "same"; None for a dense layer.
    """

    kernel: Any
    bias: Any
    kernel_type: FixedType
    bias_type: FixedType
    result_type: FixedType
    activation: str = ""
    activation_type: FixedType | None = None
    accum: FixedType | None = None
    stride: int | tuple[int, int] | None = None
    padding: str | None = None

    @property
    def output_type(self) -> FixedType:
        """The type of what the layer gives to the next."""
        return (self.activation and self.activation_type) or self.result_type


def run(
    network: Sequence[Layer], x: Any, input_type: FixedType, lane: str | None = None
) -> tuple[jax.Array, FixedType]:
    """What a network gives, in integers.

    Args:
        network: layers; without any, x is given back. Between a convolution and a dense layer
            images are flattened, row, column, channel.
        x: counts (..., inputs), or (..., height, width, channels).
        input_type: their type.
        lane: one of `jaxad.fixed.lanes.LANES` for all layers; None: for every layer the cheapest
            that holds it (`bounds`). Needed where weights or types are traced.

    Returns:
        Counts (..., outputs) and their type, that of the last layer.

    Raises:
        UserError: a layer has no such activation, or its lane does not hold it.
    """
    images = False
    for number, layer in enumerate(network):
        flat = layer.stride is None
        if flat and images:
            x = jax.lax.collapse(x, x.ndim - 3)
        images = not flat
        try:
            x = _output(layer, x, input_type, lane)
        except UserError as error:
            raise UserError(f"layer {number}: {error}") from None
        input_type = layer.output_type
    return x, input_type


def _output(layer: Layer, x: Any, input_type: FixedType, lane: str | None) -> jax.Array:
    if layer.activation not in ("", "relu"):
        raise UserError(f'activation: expected "" or "relu", found {layer.activation!r}')
    types = input_type, layer.kernel_type, layer.bias_type, layer.result_type
    if layer.stride is None:
        x = layers.dense(x, layer.kernel, layer.bias, *types, layer.accum, lane)
    else:
        place = layer.stride, layer.padding or "valid"
        x = layers.conv(x, layer.kernel, layer.bias, *types, *place, layer.accum, lane)
    if not layer.activation:
        return x
    return layers.relu(x, layer.result_type, layer.output_type, lane and lanes.integers(lane))


def bounds(network: Sequence[Layer], input_type: FixedType) -> list[Bound]:
    """The largest magnitudes that the sums of every layer can meet, whatever the inputs.

    Raises:
        UserError: weights or types are traced.

    Examples:
        >>> t = FixedType(18, 8)
        >>> wide = Layer(np.full((76, 1), -(2**17)), np.zeros(1, int), t, t, t)
        >>> bounds([wide], t)[0].bits
        42
    """
    found = []
    for layer in network:
        kernel = layer.kernel
        if lanes.known(kernel):
            kernel = np.reshape(kernel, (-1, np.shape(kernel)[-1]))
        types = input_type, layer.kernel_type, layer.bias_type
        found.append(accumulators.bound(kernel, layer.bias, types, layer.accum))
        input_type = layer.output_type
    if None in found:
        raise UserError(
            f"layer {found.index(None)}: weights or types are traced: no bound is known"
        )
    return found
