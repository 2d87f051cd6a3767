"""Stored integers of a quantised network as layers of `jaxad.fixed`, and the scores they give."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.fixed import FixedType, Layer, auto_accum, bounds, from_float, parsed, run, subtract
from jaxad.fixed.accumulators import larger
from jaxad.models.integers import rectified

LANE = "int32"


class Form(NamedTuple):
    """What a score is of a network: the sum of squares of its code, or the code itself.

    Attributes:
        compared: how many layers give what the last one's result is compared with, their difference
            being the code; 0: the inputs; None: the last one's result itself is.
        number: whether the code is one number, and the score.
    """

    compared: int | None = None
    number: bool = False


FORMS = {
    "mu2": Form(),
    "mse": Form(compared=0),
    "distance": Form(compared=2),
    "student": Form(number=True),
    "flow_norm": Form(),
}
"""Score -> its network; "mse" is the sum of squares of all inputs' errors, without a division;
"distance" is of two layers of features, then of their autoencoder."""


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
        layers: as of `jaxad.models.integers.integers`; arrays may be traced.
    """
    x_type, network = input_type(config), []
    for number, relu in enumerate(rectified(layers)):
        layer = layers[str(number)]
        names = "kernel", "bias", "relu" if relu else "result"
        kernel, bias, result = (tuple(layer[f"{name}_type"]) for name in names)
        kernel, bias = (FixedType(*t, True, "RND", "SAT_SYM") for t in (kernel, bias))
        result = FixedType(*result, not relu, config.method.rounding, "SAT")
        exact = auto_accum(x_type, kernel, bias, len(layer["kernel"]))
        own = (layer["kernel"], layer["bias"], kernel, bias)
        network.append(Layer(*own, exact, "relu", result) if relu else Layer(*own, result))
        x_type = result
    return network


def with_types(layers: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """The stored layers of one member with Python's integers as types."""
    return {
        number: {k: a.tolist() if k.endswith("type") else a for k, a in layer.items()}
        for number, layer in layers.items()
    }


def require_lane(config: ConfigDict, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuses integers whose sums int32 does not hold.

    Raises:
        UserError: the first layer, or the score.
    """
    network, most = network_of(config, with_types(layers)), np.iinfo(LANE).bits
    for number, (layer, bound) in enumerate(
        zip(network, bounds(network, input_type(config)), strict=True)
    ):
        bits = max(bound.bits, layer.result_type.width)
        if bits > most:
            inputs = "method.activation_bits" if number else "the bits of method.input_type"
            raise UserError(
                f"quantized: the sums of layer {number} have {bits} bits, more than int32: "
                f"lower method.weight_bits or {inputs}"
            )
    if FORMS[config.method.score].number:
        return
    _require_squares(config, *_compared_types(config, network), len(network[-1].bias))


def require_errors(config: ConfigDict, inputs: int) -> None:
    """Refuses inputs whose errors int32 does not hold the squares of, whatever the network.

    Args:
        inputs: how many there are.

    Raises:
        UserError: of scores that compare with the inputs.
    """
    if FORMS[config.method.score].compared == 0:
        grid = input_type(config)
        _require_squares(config, FixedType(1, grid.integer), grid, inputs)


def _require_squares(config: ConfigDict, to: FixedType, other: FixedType | None, n: int) -> None:
    """Refuses n squares of what `code_type` describes whose sum int32 does not hold."""
    code, most = _difference(to, other), np.iinfo(LANE).bits
    bits = 2 * (code.width - code.signed) + n.bit_length() + 1
    if bits <= most:
        return
    fraction = (most - 1 - n.bit_length()) // 2 - code.integer + code.signed  # the most that fits
    own = "code_bits" if to.signed else "activation_bits"  # of a last ReLU
    narrower = [f"method.{own}={to.integer + fraction}"] if to.fraction > fraction else []
    if other is not None and other.fraction > fraction:
        other = other._replace(width=other.integer + fraction)
        narrower += [
            f"method.activation_bits={other.width}"
            if FORMS[config.method.score].compared
            else f"method.input_type={other}"
        ]
    raise UserError(
        f"quantized: the sum of {n} squares of method.score={config.method.score} has {bits} "
        f"bits, more than int32: set {' and '.join(narrower)}"
    )


def _compared_types(
    config: ConfigDict, network: Sequence[Layer]
) -> tuple[FixedType, FixedType | None]:
    """Those of the last layer's result, and of what it is compared with."""
    compared, to = FORMS[config.method.score].compared, network[-1].output_type
    if compared is None:
        return to, None
    return to, network[compared - 1].output_type if compared else input_type(config)


def _difference(to: FixedType, other: FixedType | None) -> FixedType:
    """That of exact differences, or, without another, `to`."""
    if other is None:
        return to
    fraction = larger(to.fraction, other.fraction)
    integer = larger(*(t.integer + (not t.signed) for t in (to, other))) + 1
    return FixedType(integer + fraction, integer)


def code_type(config: ConfigDict, network: Sequence[Layer]) -> FixedType:
    """That of what is squared: of the last layer's result, or of exact differences from it."""
    return _difference(*_compared_types(config, network))


def score_counts(
    config: ConfigDict, layers: Mapping[str, Mapping[str, Array]], x: Array
) -> tuple[Array, Array]:
    """The score of inputs x (n, d) in integers, what firmware gives: a sum of squares, or a number.

    Returns:
        Counts (n,) int32, see `Form`, and how many bits they have behind the point.
    """
    network, (compared, number) = network_of(config, layers), FORMS[config.method.score]
    other, grid = from_float(x, input_type(config), LANE), input_type(config)
    if compared:
        other, grid = run(network[:compared], other, grid, LANE)
    codes, to = run(network[compared or 0 :], other, grid, LANE)
    if compared is not None:
        exact = code_type(config, network)
        codes, to = subtract(codes, other, to, grid, exact, LANE), exact
    if number:
        return codes[..., 0], to.fraction
    return jnp.sum(codes * codes, axis=-1), 2 * to.fraction


def integer_score(config: ConfigDict, layers: Mapping[str, Mapping[str, Array]], x: Array) -> Array:
    """Score (n,) float32 of inputs x (n, d), in integers until it is complete.

    The last step, to float32, is exact for sums of 24 bits: 8 codes of 11, say.
    """
    counts, fraction = score_counts(config, layers, x)
    return jnp.ldexp(counts.astype(jnp.float32), -fraction)
