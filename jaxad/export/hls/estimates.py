"""What a fixed-point network would take of an FPGA, by da4ml: estimates, without any synthesis."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxad.export.hls.image import ImageFirmware
from jaxad.export.hls.integer import HIGHEST, LOWEST, Firmware
from jaxad.export.hls.network import SLOPE, TANH_TABLE, Fixed
from jaxad.fixed import FixedType, Layer

ADDERS_A_STAGE = 5
CLOCKS = (160, 240, 320)  # [MHz]


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


def converted(x: Any, t: FixedType) -> Any:
    """An array of symbolic numbers as the type `t`, of the roundings TRN, RND and RND_CONV.

    da4ml knows the first two. Half to even is adding one half less the last bit of x, and the bit
    of x that will be the last one, and cutting.
    """
    f, rounding = t.fraction, t.rounding
    if rounding == "RND_CONV":
        _, _, bits = (np.asarray(part, np.float64) for part in x.kif)
        cut, odd = bits > f, x.quantize(0, 1 - f, f)
        almost_half = np.where(cut, 2.0 ** (-f - 1) - 2.0**-bits, 0)
        x = x + almost_half + odd * np.where(cut, 2.0 ** (f - bits), 0)
        rounding = "TRN"
    integer = t.integer - t.signed
    return x.quantize(int(t.signed), integer, f, overflow_mode=t.overflow, round_mode=rounding)


def layers_of(network: Sequence[Layer], x: Any) -> Any:
    """What integer layers make of an array of symbolic numbers; accumulators are exact."""
    for layer in network:
        kernel, bias = (
            np.ldexp(np.asarray(m, np.float64), -t.fraction)
            for m, t in ((layer.kernel, layer.kernel_type), (layer.bias, layer.bias_type))
        )
        x = converted(x @ kernel + bias, layer.result_type)
        x = converted(x.relu(), layer.output_type) if layer.activation else x
    return x


def scaled_counts(found: Firmware) -> tuple[Any, Any]:
    """Symbolic counts of an event (57,), and the network's inputs that they give."""
    from da4ml.trace import FixedVariableArray, HWConfig

    signed = (LOWEST < 0).astype(int)
    bits = np.ceil(np.log2(np.maximum(HIGHEST + 1, -LOWEST))).astype(int)
    counts = FixedVariableArray.from_kif(
        signed, bits, np.zeros_like(bits), hwconf=HWConfig(1, -1, -1)
    )
    x = (counts - found.offset.astype(np.float64)) * np.exp2(-found.shift)
    for t in (found.source, found.scaled, found.input):
        x = converted(x, t)
    return counts, x


def network_logic(found: Firmware) -> Any:
    """da4ml's combinational logic from the counts to the results of the last layer."""
    from da4ml.trace import comb_trace

    counts, x = scaled_counts(found)
    return comb_trace(counts, layers_of(found.layers, x))


def firmware_logic(found: Firmware) -> Any:
    """da4ml's combinational logic of a scorer in integers, from the counts to the score."""
    from da4ml.trace import comb_trace

    counts, x = scaled_counts(found)
    first = found.compared or 0
    other = layers_of(found.layers[:first], x)
    codes = layers_of(found.layers[first:], other)
    codes = codes if found.compared is None else codes - other
    return comb_trace(counts, codes if found.number else np.sum(codes * codes, keepdims=True))


def image_logic(found: ImageFirmware) -> Any:
    """da4ml's combinational logic of a scorer of images, from the counts to the score."""
    from da4ml.trace import FixedVariableArray, HWConfig, comb_trace

    h, w = found.shape
    bits = np.full(h * w, found.input.width)
    counts = FixedVariableArray.from_kif(0 * bits, bits, 0 * bits, hwconf=HWConfig(1, -1, -1))
    first, *others = found.layers
    rows, columns, _, features = first.kernel.shape
    patches = np.arange(h * w).reshape(h // rows, rows, w // columns, columns)
    patches = patches.transpose(0, 2, 1, 3).reshape(-1, rows * columns)
    flat = first._replace(kernel=first.kernel.reshape(-1, features))
    y = layers_of([flat], counts[patches])
    return comb_trace(counts, layers_of(others, y.reshape(-1)))


def latency(stages: int) -> dict[str, float]:
    """Clock [MHz] -> stages times its period [ns]."""
    return {str(clock): round(stages * 1e3 / clock, 2) for clock in CLOCKS}


def estimates(logic: Any) -> dict[str, int]:
    """LUTs, flip-flops, and pipeline stages of at most 5 adders each, of da4ml's logic."""
    from da4ml.trace import to_pipeline

    pipeline = to_pipeline(logic, ADDERS_A_STAGE, verbose=False)
    return {
        "lut": round(logic.cost),
        "ff": int(pipeline.reg_bits),
        "stages": len(pipeline.solutions),
        "adders": round(logic.latency[1]),
    }
