"""The student of CICADA: a network of few bits that guesses how badly images are reconstructed.

CMS's calorimeter trigger since 2024 (CMS-DP-2024-121; method: arXiv:2310.06047), the second version
of the network: a 2 x 2 convolution of stride 2 and 4 filters without bias, a dense layer of 16
whose batch normalisation is folded in, a dense layer of 1 without bias, a ReLU after each. All
widths are the deployed ones. Accumulators are exact here; CMS's are narrower and wrap around.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad.fixed import FixedType, Layer, auto_accum, from_float, run
from jaxad.models.convolution import conv
from jaxad.models.rounding import quantised, set_bits

FILTERS, SIDE, WIDTH = 4, 2, 16
INPUT = FixedType(10, 10, False, "TRN", "SAT")
KERNEL = FixedType(12, 4, True, "RND", "SAT_SYM")
"""Of the convolution and of the last layer."""
DENSE = FixedType(8, 2, True, "RND", "SAT_SYM")
BIAS = FixedType(8, 4, True, "RND", "SAT_SYM")
HIDDEN = FixedType(10, 6, False, "RND_CONV", "SAT")
SCORE = FixedType(16, 8, False, "RND_CONV", "SAT")
LANE = "int32"
MAX_PIXELS = 1 << 12
"""Of an image: the sums of the dense layer stay within the lane's bits."""

NORM_EPS = 1e-3
MOMENTUM = 0.99
"""Of the running statistics, after a plain mean at the start."""
PEAK, CONTRAST = 0.25, 0.25
"""Each filter starts with this weight for a region of its own, and less this share of it for the
three others: no filter starts dead, and a sum of such ReLUs sees how peaked the energies are."""
START = 8.0
"""Mean and spread at first of what the dense layer gives: an eighth of what its type holds."""
FALLING = 4
"""Of so many units of the last layer one starts with a weight below 0: a logarithm flattens, which
no sum of ReLUs with positive weights does."""


class Statistics(NamedTuple):
    """Mean and variance (16,) of what the dense layer gives before its normalisation."""

    mean: Array
    var: Array


def initial(key: Array, pixels: int, target: float) -> dict[str, Array]:
    """Parameters at the start, whose output is about `target` for images of so many pixels."""
    of_dense, of_out = jax.random.split(key)
    filters = PEAK * ((1 + CONTRAST) * np.eye(FILTERS, dtype=np.float32) - CONTRAST)
    glorot = jax.nn.initializers.glorot_uniform()
    spread = jax.random.uniform(of_out, (WIDTH, 1), minval=0.5, maxval=1.5)
    sign = np.where(np.arange(WIDTH) % FALLING == 0, -1, 1)[:, None]
    return {
        "conv": jnp.asarray(filters.reshape(SIDE, SIDE, 1, FILTERS)),
        "dense": glorot(of_dense, (pixels // SIDE**2 * FILTERS, WIDTH)),
        "scale": jnp.full(WIDTH, START),
        "shift": jnp.full(WIDTH, START),
        "out": spread * sign * (target / (START * sign.sum())),
    }


def on_grid(x: Array, t: FixedType, rounded: Array | bool = True) -> Array:
    """The values of a type that x becomes, with gradients that go through the rounding alone.

    Args:
        rounded: False: x within the range of the type, between its values too.
    """
    step = 2.0**-t.fraction
    low, high = t.lowest * step, t.highest * step
    y = quantised(x, jnp.array(float(t.fraction)), low, high, t.rounding)
    return y if rounded is True else jnp.where(rounded, y, jnp.clip(x, low, high))


def hidden(params: Mapping[str, Array], x: Array, rounded: Array | bool = True) -> Array:
    """What goes into the dense layer (n, inputs): ReLU of the convolution, channels last.

    Args:
        x: images (n, h, w, 1), counts.
        rounded: see `on_grid`.
    """
    y = conv(x, on_grid(params["conv"], KERNEL, rounded), stride=SIDE, padding="VALID")
    return on_grid(jax.nn.relu(y), HIDDEN, rounded).reshape(len(x), -1)


def statistics(params: Mapping[str, Array], y: Array, weight: Array) -> Statistics:
    """Those of the events of a batch whose `weight` (n,) is above 0."""
    there = (weight > 0).astype(jnp.float32)[:, None]
    n, z = jnp.maximum(there.sum(), 1), y @ params["dense"]
    mean = jnp.sum(z * there, 0) / n
    return Statistics(mean, jnp.sum((z - mean) ** 2 * there, 0) / n)


def updated(running: Statistics, batch: Statistics, step: Array) -> Statistics:
    """Running statistics after one more batch, the number `step`."""
    old = jnp.minimum(MOMENTUM, step / (step + 1))
    return jax.tree.map(lambda a, b: old * a + (1 - old) * jax.lax.stop_gradient(b), running, batch)


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


def constants(
    params: Mapping[str, Array], norm: Statistics, rounded: Array | bool = True
) -> dict[str, Array]:
    """Weights on their grids, the normalisation folded in: what firmware holds; see `on_grid`."""
    scales = {"scale": params["scale"], "bias": params["shift"]}
    scales |= {"mean": norm.mean, "var": norm.var}
    kernel, bias = folded(params["dense"], jnp.zeros(WIDTH), scales, NORM_EPS)
    return {
        "conv": on_grid(params["conv"], KERNEL, rounded),
        "dense": on_grid(kernel, DENSE, rounded),
        "bias": on_grid(bias, BIAS, rounded),
        "out": on_grid(params["out"], KERNEL, rounded),
    }


def output(
    params: Mapping[str, Array], norm: Statistics, y: Array, rounded: Array | bool = True
) -> Array:
    """Score (n,) of what goes into the dense layer (n, inputs); see `on_grid`."""
    fixed = constants(params, norm, rounded)
    y = on_grid(jax.nn.relu(y @ fixed["dense"] + fixed["bias"]), HIDDEN, rounded)
    return on_grid(jax.nn.relu(y @ fixed["out"]), SCORE, rounded)[:, 0]


def integers(params: Mapping[str, Array], norm: Statistics) -> dict[str, np.ndarray]:
    """The weights of `constants` as int32 counts of their types."""
    types = {"conv": KERNEL, "dense": DENSE, "bias": BIAS, "out": KERNEL}
    return {
        name: np.ldexp(np.asarray(values), types[name].fraction).astype(np.int32)
        for name, values in jax.jit(constants)(params, norm).items()
    }


def network(stored: Mapping[str, Any]) -> list[Layer]:
    """The layers of `integers`; arrays may be traced."""
    layers, x_type = [], INPUT
    for name, kernel_type, bias, to, place in (
        ("conv", KERNEL, np.zeros(FILTERS, np.int32), HIDDEN, (SIDE, "valid")),
        ("dense", DENSE, stored["bias"], HIDDEN, (None, None)),
        ("out", KERNEL, np.zeros(1, np.int32), SCORE, (None, None)),
    ):
        kernel = stored[name]
        exact = auto_accum(x_type, kernel_type, BIAS, int(np.prod(kernel.shape[:-1])))
        own = kernel, bias, kernel_type, BIAS, exact, "relu", to, None
        layers.append(Layer(*own, *place))
        x_type = to
    return layers


def integer_scores(layers: Mapping[str, Array], x: Array) -> Array:
    """Scores (n,) int32 of images x (n, h, w, 1), in counts of `SCORE`: what firmware gives."""
    counts, _ = run(network(layers), from_float(x, INPUT, LANE), INPUT, LANE)
    return counts[..., 0]


def ebops(stored: Mapping[str, np.ndarray]) -> int:
    """Effective bit operations: bits of inputs times those of weights, and the bits of biases.

    The convolution is computed at every position.
    """
    positions = len(stored["dense"]) // FILTERS
    total = positions * INPUT.width * set_bits(stored["conv"]).sum()
    total += HIDDEN.width * (set_bits(stored["dense"]).sum() + set_bits(stored["out"]).sum())
    return int(total + set_bits(stored["bias"]).sum())
