"""What a fixed-point network would take of an FPGA, by da4ml: estimates, without any synthesis."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxad.export.hls.network import SLOPE, TANH_TABLE, Fixed

ADDERS_A_STAGE = 5


def _signed(x: Any, t: Fixed) -> Any:
    return x.quantize(1, t.integer - 1, t.width - t.integer, overflow_mode="SAT", round_mode="RND")


def _output(layer: Any, arguments: list[Any]) -> Any:
    """What a Keras layer makes of its arguments, arrays of symbolic fixed-point numbers."""
    kind, first = type(layer).__name__, arguments[0]
    if kind == "Dense":
        kernel, bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
        return first @ kernel + bias
    if kind == "LeakyReLU":
        return np.maximum(first, first * SLOPE)
    if kind == "Activation" and layer.activation.__name__ == "tanh":
        bits = TANH_TABLE.bit_length() - 1  # of the address, between -4 and 4
        return np.tanh(first.quantize(1, 2, bits - 3, overflow_mode="SAT"))
    if kind == "Activation":
        return first.relu()
    if kind == "Concatenate":
        return np.concatenate(arguments)
    return first - arguments[1] if kind == "Subtract" else first * arguments[1]


def logic(model: Any, types: Mapping[str, Mapping[str, Fixed]]) -> Any:
    """da4ml's combinational logic of a Keras model with the types of its layers' results."""
    from da4ml.trace import FixedVariableArray, HWConfig, comb_trace

    values, inputs = {}, []
    for layer in model.layers:
        found = types.get(layer.name, {}).get("result")
        if type(layer).__name__ == "InputLayer":
            bits = (1, found.integer - 1, found.width - found.integer) if found else (0, 1, 0)
            arrays = (np.full(layer.output.shape[1], n) for n in bits)
            y = FixedVariableArray.from_kif(*arrays, hwconf=HWConfig(1, -1, -1))
            inputs.append(y)
        else:
            given = layer.input if isinstance(layer.input, list) else [layer.input]
            y = _output(layer, [values[id(tensor)] for tensor in given])
            y = _signed(y, found) if found else y
        values[id(layer.output)] = y
    return comb_trace(np.concatenate(inputs), values[id(model.outputs[0])])


def estimates(model: Any, types: Mapping[str, Mapping[str, Fixed]]) -> dict[str, int]:
    """LUTs, flip-flops, and pipeline stages of at most 5 adders each."""
    from da4ml.trace import to_pipeline

    found = logic(model, types)
    pipeline = to_pipeline(found, ADDERS_A_STAGE, verbose=False)
    return {
        "lut": round(found.cost),
        "ff": int(pipeline.reg_bits),
        "stages": len(pipeline.solutions),
        "adders": round(found.latency[1]),
    }
