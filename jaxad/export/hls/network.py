"""A trigger autoencoder as a network of fixed-point layers: weights, Keras model, bits.

Inputs are z (n, 57), standardised, and there (n, 19), 1 where a slot holds an object. The means
that were subtracted come back as weights of `there`, so that z is the input and the target of the
reconstruction at once.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxad.errors import UserError
from jaxad.inputs.trigger import N_INPUTS
from jaxad.observables.trigger import ETA_LIMIT, N_OBJECTS
from jaxad.scorer import Scorer

COLUMNS = np.arange(N_INPUTS).reshape(N_OBJECTS, 3).T.ravel()  # all pT, all eta, all phi
PT_UNIT = 64.0  # [GeV], where the loss does not standardise pT
WIDTH, WIDE = 18, 32  # bits of a number where none are asked for; of squares and their sum
WIDTHS = range(4, WIDTH + 1)
TANH_TABLE = 4096  # entries between -4 and 4
SLOPE_BITS = 16
SLOPE = int(0.3 * 2**SLOPE_BITS) / 2**SLOPE_BITS  # of LeakyReLU
ENCODER = (("Dense_0", "BatchNorm_1", "leaky_relu"), ("Dense_1", "BatchNorm_2", "leaky_relu"))
LAYERS = {
    "exercise": (("Dense_0", "", "relu"), ("Dense_1", "", "relu")),
    "challenge": (*((f"Dense_{i}", "", "relu") for i in range(3)), ("Dense_3", "", "")),
    "dense_ae": (
        *ENCODER,
        ("_Bottleneck_0", "", ""),
        ("Dense_2", "BatchNorm_3", "leaky_relu"),
        ("Dense_3", "BatchNorm_4", "leaky_relu"),
        ("Dense_4", "", ""),
    ),
    "dense_vae": (*ENCODER, ("_Bottleneck_0", "", "")),
}
"""Dense layer, its batch normalisation and its activation, up to what the score needs."""
ENCODERS = ("encoder", "encoder_norm")
"""Networks whose code scores, which the method `quantized` takes from the counts on."""


class Layer(NamedTuple):
    """y = activation(x @ kernel + bias)."""

    kernel: np.ndarray
    bias: np.ndarray
    activation: str


class Fixed(NamedTuple):
    """A fixed-point type: bits, and those of them before the point, one of which is the sign."""

    width: int
    integer: int

    def __str__(self) -> str:
        return f"fixed<{self.width},{self.integer},RND,SAT>"

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """The nearest numbers of this type."""
        step, limit = 2.0 ** (self.integer - self.width), 2.0 ** (self.integer - 1)
        return np.clip(np.floor(values / step + 0.5) * step, -limit, limit - step)


def fixed(values: np.ndarray, width: int, margin: int = 0) -> Fixed:
    """The type of `width` bits that holds `values`, with `margin` integer bits more."""
    largest = float(np.max(np.abs(values))) or 0.5
    return Fixed(width, math.floor(math.log2(largest)) + 2 + margin)


def check(scorer: Scorer) -> None:
    """Raise a UserError that names why a scorer cannot be written."""
    network = scorer.config.get("model", {}).get("name", "")
    if scorer.method == "trigger_autoencoder" and network in ENCODERS:
        raise UserError(
            f"--format hls: model.name={network} is for integers: train the method quantized with "
            "method.teacher of this run; method.target=none alone rounds it"
        )
    if scorer.method != "trigger_autoencoder" or network not in LAYERS:
        raise UserError(
            "--format hls: dense trigger autoencoders only (trigger_autoencoder with model.name "
            f"{', '.join(LAYERS)}), found {scorer.method} {network}".rstrip()
        )
    if scorer.shape != (N_OBJECTS, 3):
        raise UserError(f"--format hls: takes trigger events only, found {scorer.shape}")
    if scorer.layout.unit != 1:
        raise UserError("--format hls: takes momenta in GeV: train on a file in GeV")
    if scorer.default:
        raise UserError(f"--format hls: writes the method's own score only, not {scorer.default}")
    members, epochs = jax.tree.leaves(scorer.params["params"])[0].shape[:2]
    if (members, epochs) != (1, 1):
        raise UserError(
            f"--format hls: one network only, found {members} members of {epochs} epochs: train "
            "with train.ensemble and train.keep_best 1"
        )
    if network != "dense_vae" and scorer.config.method.loss == "masked_per_object":
        raise UserError("--format hls: the loss masked_per_object divides: use masked or plain")


def preprocessing(scorer: Scorer) -> dict[str, Any]:
    """What the host needs: z = (x - shift) / scale, (57,) each, pT in GeV.

    masked: the network also takes `there`, and empty slots do not count in the error.
    """
    variational = scorer.config.model.name == "dense_vae"
    masked = variational or scorer.config.method.loss == "masked"
    shift, scale = np.zeros((3, N_OBJECTS)), np.ones((3, N_OBJECTS))
    scale[0] = PT_UNIT
    if masked:
        shift[0], scale[0] = scorer.params["inputs"]["mean"], scorer.params["inputs"]["std"]
        scale[1:] = np.where(ETA_LIMIT > 0, ETA_LIMIT, 1.0), np.full(N_OBJECTS, np.pi)
    return {
        "rotate": bool(scorer.config.inputs.rotate),
        "masked": masked,
        "score": scorer.names[0],
        "shift": shift.ravel().tolist(),
        "scale": scale.ravel().tolist(),
    }


def dense_layers(scorer: Scorer, host: Mapping[str, Any]) -> list[Layer]:
    """The network from z and there to the reconstruction of z, or to mean and log-variance."""
    params, state = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[0, 0], tree)
        for tree in (scorer.params["params"], scorer.params.get("state", {}))
    )

    def norm(name: str) -> tuple[Any, Any]:
        if name not in params:
            return 1.0, 0.0
        seen = state["batch_stats"][name]
        gain = params[name]["scale"] / np.sqrt(seen["var"] + 1e-3)
        return gain, params[name]["bias"] - gain * seen["mean"]

    def dense(name: str) -> tuple[np.ndarray, np.ndarray]:
        parts = [params[name]]
        if name == "_Bottleneck_0":
            parts = [params[name][part] for part in ("mean", "log_var") if part in params[name]]
        kernel = np.concatenate([part["kernel"] for part in parts], -1)
        biases = [part.get("bias", np.zeros(part["kernel"].shape[-1])) for part in parts]
        return kernel, np.concatenate(biases)

    layers = []
    for name, norm_name, activation in LAYERS[scorer.config.model.name]:
        (kernel, bias), (gain, offset) = dense(name), norm(norm_name)
        layers.append(Layer(kernel * gain, bias * gain + offset, activation))
    gain, offset = norm("BatchNorm_0")
    kernel, bias, activation = layers[0]
    bias = bias + (offset * np.ones(N_INPUTS)) @ kernel
    kernel = (np.reshape(gain * np.ones(N_INPUTS), (-1, 1)) * kernel)[COLUMNS]
    by_there = (np.reshape(host["shift"], (-1, 1)) * kernel).reshape(3, N_OBJECTS, -1).sum(0)
    kernel = np.reshape(host["scale"], (-1, 1)) * kernel
    kernel = np.concatenate([kernel, by_there]) if host["masked"] else kernel
    layers[0] = Layer(kernel, bias, activation)
    if host["score"] == "mse":
        kernel, bias, activation = layers[-1]
        unit = 1.0 if host["masked"] else np.array(host["scale"])
        layers[-1] = Layer(kernel[:, COLUMNS] / unit, bias[COLUMNS] / unit, activation)
    return layers


def keras_model(
    layers: list[Layer], host: Mapping[str, Any], width: int
) -> tuple[Any, dict[str, Any]]:
    """Keras model from [z, there], or z, to the score (n, 1), or to the code (n, 2 d).

    Also the types of the weights, {layer: {"weight", "bias"}}, of `width` bits, which they have
    been rounded to.
    """
    import keras
    from keras.layers import Activation, Concatenate, Dense, Input, LeakyReLU, Multiply, Subtract

    types = {}

    def linear(name: str, y: Any, kernel: np.ndarray, bias: np.ndarray) -> Any:
        layer, own = Dense(len(bias), name=name), [fixed(kernel, width), fixed(bias, width)]
        types[name] = dict(zip(("weight", "bias"), own, strict=True))
        y = layer(y)
        layer.set_weights([t.rounded(x) for t, x in zip(own, (kernel, bias), strict=True)])
        return y

    def activated(name: str, y: Any) -> Any:
        if not name:
            return y
        layer = LeakyReLU(SLOPE) if name == "leaky_relu" else Activation(name)
        layer.name = f"{name}_{len(types)}"
        return layer(y)

    z = y = Input((N_INPUTS,), name="z")
    inputs = [z]
    if host["masked"]:
        inputs.append(Input((N_OBJECTS,), name="there"))
        y = Concatenate(name="event")(inputs)
    *hidden, last = layers
    for i, (kernel, bias, activation) in enumerate(hidden):
        y = activated(activation, linear(f"dense_{i + 1}", y, kernel, bias))
    if host["score"] != "mse":
        return keras.Model(inputs, linear("code", y, last.kernel, last.bias)), types
    weight = np.square(host["scale"]) / N_INPUTS
    if host["masked"]:
        weight[:N_OBJECTS] = 1 / N_INPUTS
        limited = np.r_[ETA_LIMIT, np.ones(N_OBJECTS)] > 0
        angles = linear(
            "angles", y, last.kernel[:, N_OBJECTS:] * limited, last.bias[N_OBJECTS:] * limited
        )
        angles = activated("tanh", activated(last.activation, angles))
        pt = linear("pt", y, last.kernel[:, :N_OBJECTS], last.bias[:N_OBJECTS])
        y = Concatenate(name="output")([activated(last.activation, pt), angles])
        twice = Concatenate(name="there_twice")([inputs[1], inputs[1]])
        there = Concatenate(name="there_thrice")([twice, inputs[1]])
        y = Multiply(name="masked")([Subtract(name="difference")([y, z]), there])
    else:
        y = activated(last.activation, linear("output", y, last.kernel, last.bias))
        y = Subtract(name="difference")([y, z])
    y = Multiply(name="square")([y, y])
    return keras.Model(inputs, linear("score", y, weight[:, None], np.zeros(1))), types


def output_types(model: Any, inputs: list[np.ndarray], width: int) -> dict[str, dict[str, Fixed]]:
    """Types of what the layers give, {layer: {"result"}}, of traced maxima and one bit more."""
    import keras

    named = [layer for layer in model.layers if "there" not in layer.name]
    traced = keras.Model(model.inputs, [layer.output for layer in named])
    found = traced.predict(inputs, verbose=0, batch_size=256)
    return {
        layer.name: {"result": fixed(y, WIDE if layer.name in ("square", "score") else width, 1)}
        for layer, y in zip(named, found, strict=True)
    }
