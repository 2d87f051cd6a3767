"""A quantised scorer as firmware: raw counts of an event in, an integer score and a bit out.

Every type is the scorer's. What hls4ml writes is the network; around it stands a top function that
scales the counts and sums the squares, so that nothing is left to a host, and nothing is rounded
that the scorer does not round: their integers are the same.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxad import inputs
from jaxad.errors import UserError
from jaxad.export.hls import build
from jaxad.fixed import FixedType, Layer, auto_accum, to_float
from jaxad.inputs import trigger_integer
from jaxad.inputs.trigger_integer import FRACTION
from jaxad.methods import quantized
from jaxad.methods.stages.integers import (
    FORMS,
    code_type,
    input_type,
    network_of,
    score_counts,
    with_types,
)
from jaxad.models.integers import ebops
from jaxad.observables.trigger import ETA_BITS, PHI_COUNTS, PT_BITS
from jaxad.scorer import Scorer

ROUNDINGS = ("TRN", "RND", "RND_CONV")
"""Of inputs: those that have a form in adders here."""
SOURCE_INTEGER = 13
"""Bits before the point of what is shifted, at least: those of fixed<18,13>, as AXOL1TL's."""
_HIGHEST = [2**PT_BITS - 1, 2 ** (ETA_BITS - 1) - 1, PHI_COUNTS - 1]
_LOWEST = [0 * PT_BITS, -(2 ** (ETA_BITS - 1)), 0 * PT_BITS]
HIGHEST, LOWEST = (np.stack(limits, -1).ravel() for limits in (_HIGHEST, _LOWEST))
"""Counts (57,) that an event can have."""
COUNT_BITS = int(max(HIGHEST.max(), -LOWEST.min() - 1)).bit_length() + 1
"""Bits of a signed integer that holds any of them."""
SQUARES = "sum of squares of the network's results"


class Firmware(NamedTuple):
    """A scorer in integers.

    Attributes:
        offset, shift: (57,) int, of the counts.
        scaled: type of (counts - offset) >> shift.
        input: that of the network's inputs, to which it is converted next.
        layers: of the network, whose widths are Python's integers.
        compared: how many layers give what the last one's result is compared with; 0: its inputs;
            None: nothing.
        code: the type of what is squared, the results of the last layer or of that comparison.
        number: whether nothing is squared, and the one result is the score.
        ebops: effective bit operations of its constants.
    """

    offset: np.ndarray
    shift: np.ndarray
    scaled: FixedType
    input: FixedType
    layers: list[Layer]
    compared: int | None
    code: FixedType
    number: bool
    ebops: int

    @property
    def source(self) -> FixedType:
        """The type of counts - offset, whose shift neither wraps nor saturates."""
        doubled = np.where(self.shift < 0, 2.0**-self.shift, 1).astype(int)
        farthest = [(HIGHEST - self.offset) * doubled, (self.offset - LOWEST) * doubled]
        integer = max(SOURCE_INTEGER, int(np.max(farthest)).bit_length() + 1)
        return FixedType(integer + FRACTION, integer)

    @property
    def score(self) -> FixedType:
        """The type of the one result, or one that holds any sum of squares of the codes."""
        if self.number:
            return self.code
        largest = len(self.layers[-1].bias) * max(-self.code.lowest, self.code.highest) ** 2
        width = largest.bit_length()
        return FixedType(width, width - 2 * self.code.fraction, signed=False)

    def threshold(self, score: float) -> int:
        """The smallest count whose float32 score reaches a threshold: flags are the scorer's."""
        wanted = np.float32(score)
        found = int(np.ceil(np.ldexp(np.float64(wanted), self.score.fraction)))
        while (
            found > self.score.lowest
            and np.ldexp(np.float32(found - 1), -self.score.fraction) >= wanted
        ):
            found -= 1
        return found

    def types(self) -> dict[str, dict[str, FixedType]]:
        """Layer -> part -> type, by the names of `keras_model`."""
        found = {"z": {"result": self.input}}
        for number, layer in enumerate(self.layers):
            parts = {
                "weight": layer.kernel_type,
                "bias": layer.bias_type,
                "accum": auto_accum(
                    self.input if not number else self.layers[number - 1].output_type,
                    *(layer.kernel_type, layer.bias_type, len(layer.kernel)),
                ),
                "result": layer.result_type,
            }
            found[f"dense_{number}"] = parts
            if layer.activation:
                found[f"relu_{number}"] = {"result": layer.output_type}
        return found if self.compared is None else found | {"difference": {"result": self.code}}


def check(scorer: Scorer) -> None:
    """Raise a UserError that names why the scorer of a quantised network cannot be written."""
    name = scorer.config.inputs.name
    if name != "trigger_integer":
        raise UserError(
            "--format hls: firmware takes counts: expected a run of inputs.name=trigger_integer, "
            f"found {name}"
        )
    members = len(scorer.params["ebops"])
    if members != 1:
        raise UserError(
            f"--format hls: one network only, found {members} members: train with train.ensemble 1"
        )
    for field, t in (
        ("inputs.type", trigger_integer.type_of(scorer.config.inputs)),
        ("method.input_type", input_type(scorer.config)),
    ):
        if t.rounding not in ROUNDINGS:
            raise UserError(
                f"--format hls: {field}: expected a rounding of {', '.join(ROUNDINGS)}, found {t}"
            )
    build.require_packages()


def firmware(scorer: Scorer) -> Firmware:
    """What a scorer computes, its types resolved."""
    own = jax.tree.map(lambda a: np.asarray(a)[0], scorer.params["layers"])
    grid, form = input_type(scorer.config), FORMS[scorer.config.method.score]
    layers = network_of(scorer.config, with_types(own))
    return Firmware(
        offset=np.asarray(scorer.params["inputs"]["offset"], int),
        shift=np.asarray(scorer.params["inputs"]["shift"], int),
        scaled=trigger_integer.type_of(scorer.config.inputs),
        input=grid,
        layers=layers,
        compared=form.compared,
        code=code_type(scorer.config, layers),
        number=form.number,
        ebops=ebops(own, grid.width - grid.signed),
    )


def counts_of(scorer: Scorer, raw: np.ndarray) -> np.ndarray:
    """Counts (n, 57) int32 of raw events (n, 19, 3): the input of the firmware."""
    stage = inputs.stage(scorer.config.inputs, scorer.layout, quantized.KINDS, "quantized")
    return np.asarray(jax.jit(stage.values)(np.float32(raw)), np.int32)


def emulator(scorer: Scorer) -> Callable[[np.ndarray], np.ndarray]:
    """Function counts (n, 57) -> integer scores (n,) int32: the scorer's own code."""
    to = trigger_integer.type_of(scorer.config.inputs)
    layers = jax.tree.map(lambda a: np.asarray(a)[0], scorer.params["layers"])

    @jax.jit
    def scores(counts: jax.Array) -> jax.Array:
        x = trigger_integer.scaled(scorer.params["inputs"], counts, to)
        return score_counts(scorer.config, layers, x)[0]

    return lambda counts: np.asarray(scores(np.asarray(counts, np.int32)))


def keras_model(found: Firmware) -> Any:
    """The network, from z (n, 57) to the code, its weights on their grids."""
    import keras
    from keras.layers import Activation, Dense, Input, Subtract

    y = x = Input((len(found.offset),), name="z")
    weights, outputs = {}, [x]
    for number, layer in enumerate(found.layers):
        name = f"dense_{number}"
        y = Dense(len(layer.bias), name=name)(y)
        weights[name] = [
            np.asarray(to_float(m, t), np.float32)
            for m, t in ((layer.kernel, layer.kernel_type), (layer.bias, layer.bias_type))
        ]
        if layer.activation:
            y = Activation("relu", name=f"relu_{number}")(y)
        outputs.append(y)
    if found.compared is not None:
        y = Subtract(name="difference")([y, outputs[found.compared]])
    model = keras.Model(x, y)
    for name, arrays in weights.items():
        model.get_layer(name).set_weights(arrays)
    return model


def facts(found: Firmware, threshold: float) -> Mapping[str, Any]:
    """What export.json says of it, beside what it costs."""
    return {
        "input": {
            "counts": f"int<{COUNT_BITS}>",
            "lowest": LOWEST.tolist(),
            "highest": HIGHEST.tolist(),
            "meaning": "pT, eta, phi of an object after the other, the order of the raw event; "
            "pT floor(pT / 0.5 GeV) up to all ones (MET 12 bits, e/gamma and muons 9, jets 11); "
            "eta to the nearest multiple of 0.0435, muons 0.010875; phi in 144ths, muons 576ths "
            "of the circle, from 0; empty slots 0; a muon's hardware count of pT is one more",
        },
        "scaling": {
            "meaning": "(counts - offset) >> shift in the type source, then as scaled, then as z",
            "offset": found.offset.tolist(),
            "shift": found.shift.tolist(),
            "source": str(found.source),
            "scaled": str(found.scaled),
        },
        "types": {
            name: {part: str(t) for part, t in parts.items()}
            for name, parts in found.types().items()
        },
        "score": {
            "meaning": ("the network's result" if found.number else SQUARES)
            + ": an integer, score 2^fraction",
            "type": str(found.score),
            "bits": found.score.width,
            "fraction": found.score.fraction,
        },
        "threshold": found.threshold(threshold),
        "ebops": found.ebops,
    }
