"""The integers of a quantised network, as they go into firmware, and what they cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxad.errors import UserError
from jaxad.models.affine import matrix, repeated
from jaxad.models.quantized import Widths, activation_fraction, all_but_last, weights
from jaxad.models.rounding import set_bits


def integers(
    params: Mapping, types: Mapping, widths: Widths, relus: Sequence[bool] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """The layers of a network as they go into firmware, all int32; `relus`: of its attributes.

    Returns:
        Number of the layer -> "kernel" (inputs, outputs), the whole matrix of a convolution, and
        "bias" (outputs,), counts, and width and integer bits (2,) of their types, "kernel_type" and
        "bias_type", signed and as narrow as their numbers, and of "relu_type", ufixed, where the
        layer has a ReLU, or else "result_type", fixed, of `widths.rounding` and SAT.
    """
    relus = relus or all_but_last(len(params))

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
        rows = types[number].get("rows")
        for name, (values, fractions) in constants.items():
            used = np.broadcast_to(fractions, values.shape)[values != 0]
            fraction = int(max(used, default=0))
            counts = np.ldexp(values, fraction).astype(np.int32)
            width = int(np.abs(counts).max()).bit_length() + 1
            layer[name] = matrix(counts, rows) if name == "kernel" else counts
            layer[f"{name}_type"] = np.array([width, width - fraction], np.int32)
        layer["bias"] = repeated(layer["bias"], layer["kernel"].shape[1])
        integer = int(types[number]["integer"])
        result = "relu_type" if relus[int(number)] else "result_type"
        layer[result] = np.array([integer + int(f), integer], np.int32)
        layers[number] = layer
    return layers


def rectified(layers: Mapping[str, Mapping[str, Any]]) -> list[bool]:
    """Which of the stored layers of `integers` have a ReLU.

    Raises:
        UserError: none of several has, as an earlier version stored them.
    """
    found = ["relu_type" in layers[str(number)] for number in range(len(layers))]
    if len(found) > 1 and not any(found):
        raise UserError(
            "quantized: expected layers with ReLUs, found none: the run is of an earlier version, "
            "or its network has none: train it anew"
        )
    return found


def ebops(layers: Mapping[str, Mapping[str, np.ndarray]], input_bits: int) -> int:
    """Effective bit operations of stored integers: the sum of b_x b_w over products, and of biases.

    b_w counts from the most to the least significant set bit of the constant, b_x the bits of the
    value; neither has the sign. A convolution is computed at every position. `Output.ebops` is the
    estimate that trains.

    Args:
        layers: see `integers`.
        input_bits: of an input, without the sign.
    """
    total, bits = 0, input_bits
    for number, relu in enumerate(rectified(layers)):
        layer = layers[str(number)]
        total += bits * int(set_bits(layer["kernel"]).sum()) + int(set_bits(layer["bias"]).sum())
        bits = int(layer["relu_type"][0]) if relu else int(layer["result_type"][0]) - 1
    return total
