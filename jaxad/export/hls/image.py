"""The student of CICADA as firmware: raw counts of an image in, an integer score and a bit out.

Every type is the scorer's, accumulators hold any sum, and around the network that hls4ml writes
stands a top function that compares with the threshold: nothing is left to a host.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxad.errors import UserError
from jaxad.export.hls import build
from jaxad.fixed import FixedType, Layer, from_float, to_float
from jaxad.methods import cicada
from jaxad.models import cicada as models
from jaxad.scorer import Scorer


class ImageFirmware(NamedTuple):
    """A scorer of images in integers.

    Attributes:
        shape: rows and columns of an image.
        layers: of the network, whose widths are Python's integers.
        ebops: effective bit operations of its constants.
    """

    shape: tuple[int, int]
    layers: list[Layer]
    ebops: int

    input = models.INPUT

    @property
    def score(self) -> FixedType:
        """The type of the one result."""
        return self.layers[-1].output_type

    @property
    def n_inputs(self) -> int:
        """Counts of an event."""
        return prod(self.shape)

    def types(self) -> dict[str, dict[str, FixedType]]:
        """Layer -> part -> type, by the names of `keras_model`."""
        found = {"x": {"result": self.input}}
        for number, layer in enumerate(self.layers):
            found[name_of(number, layer)] = {
                "weight": layer.kernel_type,
                "bias": layer.bias_type,
                "accum": layer.result_type,
                "result": layer.result_type,
            }
            found[f"relu_{number}"] = {"result": layer.output_type}
        return found


def name_of(number: int, layer: Layer) -> str:
    """Of a layer in the project."""
    return f"{'dense' if layer.stride is None else 'conv'}_{number}"


def check(scorer: Scorer) -> None:
    """Raise a UserError that names why the scorer cannot be written."""
    members = len(scorer.params["ebops"])
    if members != 1:
        raise UserError(
            f"--format hls: one network only, found {members} members: train with train.ensemble 1"
        )
    build.require_packages()


def stored(scorer: Scorer) -> dict[str, np.ndarray]:
    """Its integers."""
    return jax.tree.map(lambda a: np.asarray(a)[0], scorer.params["layers"])


def firmware(scorer: Scorer) -> ImageFirmware:
    """What a scorer computes, its types resolved."""
    own = stored(scorer)
    return ImageFirmware(scorer.layout.shape[:2], models.network(own), models.ebops(own))


def counts_of(scorer: Scorer, raw: np.ndarray) -> np.ndarray:
    """Counts (n, pixels) int32 of raw images (n, *shape), row by row: the input of the firmware."""
    values = cicada.stage_of(scorer.config, scorer.layout).values(np.float32(raw))
    return np.asarray(from_float(values, models.INPUT)).reshape(len(raw), -1)


def emulator(scorer: Scorer) -> Callable[[np.ndarray], np.ndarray]:
    """Function counts (n, pixels) -> integer scores (n,) int32: the scorer's own code."""
    own, shape = stored(scorer), scorer.layout.shape[:2]
    scores = jax.jit(models.integer_scores)
    return lambda counts: np.asarray(scores(own, np.float32(counts).reshape(-1, *shape, 1)))


def keras_model(found: ImageFirmware) -> Any:
    """The network, from images (n, h, w, 1) to the score, its weights on their grids."""
    import keras
    from keras.layers import Activation, Conv2D, Dense, Flatten, Input

    y = x = Input((*found.shape, 1), name="x")
    weights = {}
    for number, layer in enumerate(found.layers):
        name, features = name_of(number, layer), layer.kernel.shape[-1]
        use_bias = bool(np.any(layer.bias))
        weights[name] = [np.asarray(to_float(layer.kernel, layer.kernel_type), np.float32)]
        if use_bias:
            weights[name].append(np.asarray(to_float(layer.bias, layer.bias_type), np.float32))
        if layer.stride is None:
            y = Dense(features, use_bias=use_bias, name=name)(y)
        else:
            place = {"strides": layer.stride, "padding": layer.padding, "use_bias": use_bias}
            y = Conv2D(features, layer.kernel.shape[:2], name=name, **place)(y)
        y = Activation("relu", name=f"relu_{number}")(y)
        y = y if layer.stride is None else Flatten(name="flat")(y)
    model = keras.Model(x, y)
    for name, arrays in weights.items():
        model.get_layer(name).set_weights(arrays)
    return model


def threshold_of(score: float) -> int:
    """The smallest count whose score reaches a threshold; scores are exact in float32."""
    return int(np.ceil(np.ldexp(np.float64(np.float32(score)), models.SCORE.fraction)))


def facts(found: ImageFirmware, threshold: float) -> Mapping[str, Any]:
    """What export.json says of it, beside what it costs."""
    highest = found.input.highest
    return {
        "input": {
            "counts": str(found.input),
            "lowest": [0] * found.n_inputs,
            "highest": [highest] * found.n_inputs,
            "meaning": f"counts of an image {found.shape}, row by row, whole numbers; what is "
            f"above {highest} is {highest}",
        },
        "types": {
            name: {part: str(t) for part, t in parts.items()}
            for name, parts in found.types().items()
        },
        "score": {
            "meaning": "the network's result: an integer, score 2^fraction",
            "type": str(found.score),
            "bits": found.score.width,
            "fraction": found.score.fraction,
        },
        "threshold": threshold_of(threshold),
        "ebops": found.ebops,
    }
