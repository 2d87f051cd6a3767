"""Stored integers of a quantised network as layers of `jaxad.fixed`, and the scores they give."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.fixed import FixedType, Layer, auto_accum, bounds, from_float, parsed, run, subtract

LANE = "int32"


def input_type(config: ConfigDict) -> FixedType:
    """That of the network's inputs.

    Raises:
        UserError: no such type.
    """
    try:
        return parsed(config.method.input_type)
    except UserError as error:
        raise UserError(f"method.input_type: {error}") from None


def network_of(config: ConfigDict, layers: Mapping[str, Mapping[str, Any]]) -> list[Layer]:
    """The stored layers of one member, whose accumulators are exact.

    Args:
        layers: as of `jaxad.models.quantized.integers`; arrays may be traced.
    """
    x_type, network = input_type(config), []
    for number in map(str, range(len(layers))):
        layer, last = layers[number], int(number) == len(layers) - 1
        kernel, bias, result = (tuple(layer[f"{n}_type"]) for n in ("kernel", "bias", "result"))
        kernel, bias = (FixedType(*t, True, "RND", "SAT_SYM") for t in (kernel, bias))
        result = FixedType(*result, last, config.method.rounding, "SAT")
        exact = auto_accum(x_type, kernel, bias, len(layer["kernel"]))
        own = (layer["kernel"], layer["bias"], kernel, bias)
        network.append(Layer(*own, result) if last else Layer(*own, exact, "relu", result))
        x_type = result
    return network


def require_lane(config: ConfigDict, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuses integers whose sums int32 does not hold.

    Raises:
        UserError: the first layer, or the score.
    """
    whole = {
        n: {k: a.tolist() if k.endswith("type") else a for k, a in layer.items()}
        for n, layer in layers.items()
    }
    network, most = network_of(config, whole), np.iinfo(LANE).bits
    for number, (layer, bound) in enumerate(
        zip(network, bounds(network, input_type(config)), strict=True)
    ):
        bits = max(bound.bits, layer.result_type.width)
        if bits > most:
            raise UserError(
                f"quantized: the sums of layer {number} have {bits} bits, more than int32: "
                "lower method.weight_bits or method.activation_bits"
            )
    last, n = layer.output_type, len(layer.bias)
    if config.method.score == "mse":
        last = difference_type(last, input_type(config))
    bits = 2 * (last.width - 1) + n.bit_length() + 1
    if bits > most:
        raise UserError(
            f"method.code_bits: the sum of squares has {bits} bits, more than int32: lower it"
        )


def difference_type(a: FixedType, b: FixedType) -> FixedType:
    """That of exact differences."""
    fraction = jnp.maximum(a.fraction, b.fraction)
    integer = jnp.maximum(a.integer, b.integer + (not b.signed)) + 1
    return FixedType(integer + fraction, integer)


def squares(
    config: ConfigDict, layers: Mapping[str, Mapping[str, Array]], x: Array
) -> tuple[Array, Array]:
    """The score of inputs x (n, d) in integers, what firmware gives: a sum of squares.

    Returns:
        Counts (n,) int32, of the codes or of their differences from the inputs (`method.score`),
        and how many bits they have behind the point.
    """
    grid = input_type(config)
    counts = from_float(x, grid, LANE)
    codes, to = run(network_of(config, layers), counts, grid, LANE)
    if config.method.score == "mse":
        exact = difference_type(to, grid)
        codes, to = subtract(codes, counts, to, grid, exact, LANE), exact
    return jnp.sum(codes * codes, axis=-1), 2 * to.fraction


def integer_score(config: ConfigDict, layers: Mapping[str, Mapping[str, Array]], x: Array) -> Array:
    """Score (n,) float32 of inputs x (n, d), in integers until it is complete.

    The last step, to float32, is exact for sums of 24 bits: 8 codes of 11, say.
    """
    counts, fraction = squares(config, layers, x)
    divisor = x.shape[-1] if config.method.score == "mse" else 1
    return jnp.ldexp(counts.astype(jnp.float32), -fraction) / divisor
