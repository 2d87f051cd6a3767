"""The float network that a quantised one starts from: its layers, read off the trained network.

Any network of linear operations and ReLUs will do, dense or convolutional (`jaxad.models.reading`):
what a trained run computes says what its layers are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.methods import autoencoder, feature_autoencoder, flow_norm, student, trigger_autoencoder
from jaxad.methods.settings import INPUTS_OF
from jaxad.methods.stages.integers import FORMS
from jaxad.methods.stages.own_loss import require_own_loss
from jaxad.models.affine import Affine
from jaxad.models.reading import Network, layers_of, rectified
from jaxad.models.trigger import CONVOLUTIONAL
from jaxad.observables.trigger import N_OBJECTS

TEACHERS = {
    "mu2": ("trigger_autoencoder",),
    "mse": ("trigger_autoencoder", "autoencoder"),
    "distance": ("feature_autoencoder",),
    "student": ("student",),
    "flow_norm": ("flow_norm",),
}
"""Score -> the methods of float networks that have it."""


class Float(NamedTuple):
    """What a quantised network starts from.

    Attributes:
        layers: up to the code, norms folded in.
        params: of the whole network, a decoder that is not scored too.
        inputs: what its inputs learnt.
        config: of its run.
    """

    layers: list[Affine]
    params: dict
    inputs: dict
    config: ConfigDict


def name_of(method: str, config: ConfigDict) -> str:
    """Method and network, for messages."""
    return f"{method} {config.get('model', {}).get('name', '')}".rstrip()


def require_teacher(config: ConfigDict, method: str, theirs: ConfigDict, width: int) -> list[bool]:
    """Which layers of a float network have a ReLU; refused is one that has no such score.

    Args:
        method, theirs: its method and config.
        width: of its input.

    Raises:
        UserError: another method; features of another depth; an operation without integers.
    """
    score = config.method.score
    if method not in TEACHERS[score]:
        raise UserError(
            f"method.teacher: expected a run of {' or '.join(TEACHERS[score])}, as "
            f"method.score={score} asks, found {name_of(method, theirs)}"
        )
    if score == "distance" and len(theirs.model.features) != FORMS[score].compared:
        raise UserError(
            f"method.teacher: expected {FORMS[score].compared} model.features, as "
            f"method.score=distance asks, found {len(theirs.model.features)}"
        )
    if theirs.get("model", {}).get("name") in CONVOLUTIONAL and width != 3 * N_OBJECTS:
        raise UserError(
            f"inputs.name={config.inputs.name}: {name_of(method, theirs)} takes the "
            f"{3 * N_OBJECTS} of trigger_integer, found {width}"
        )
    if config.method.target == "loss":
        require_own_loss(score, method, theirs)
    network, start = _network(method, theirs, score, width)
    try:
        shapes = jax.eval_shape(start, jax.eval_shape(jax.random.key, 0))
        return rectified(network, shapes, width)
    except UserError as error:
        raise UserError(
            f"method.teacher: {name_of(method, theirs)} has {error}, which has no integer form "
            "here: expected a network of linear layers and ReLUs, as model.name=encoder"
        ) from None


def float_network(teacher: Any, config: ConfigDict, width: int) -> Float:
    """The network of a scorer, of the same inputs as `config`, `width` wide.

    Raises:
        UserError: of another kind, several, or of other inputs.
    """
    require_teacher(config, teacher.method, teacher.config, width)
    name = config.inputs.name
    for key in ("name", *(k for k, owners in INPUTS_OF.items() if name in owners)):
        theirs, ours = teacher.config.inputs.get(key), config.inputs[key]
        if theirs != ours:
            raise UserError(
                f"inputs.{key}: expected that of method.teacher, {theirs!r}, found {ours!r}"
            )
    params = teacher.params["params"]
    members = jax.tree.leaves(params)[0].shape[:2]
    if members != (1, 1):
        raise UserError(
            f"method.teacher: expected one network, found {members[0]} members of {members[1]} "
            "epochs: set train.ensemble=1 and train.keep_best=1 for it"
        )
    params, state = jax.tree.map(
        lambda a: np.asarray(a)[0, 0], (params, teacher.params.get("state", {}))
    )
    variables = {"params": params, **state}
    if teacher.method == "feature_autoencoder":
        encoder = jax.tree.map(lambda a: np.asarray(a)[0], teacher.params["encoder"])
        variables = {"encoder": encoder, "params": params}
    network, _ = _network(teacher.method, teacher.config, config.method.score, width)
    layers = layers_of(network, variables, width)
    return Float(layers, params, teacher.params.get("inputs", {}), teacher.config)


def _network(
    method: str, config: ConfigDict, score: str, width: int
) -> tuple[Network, Callable[[Array], Any]]:
    """(variables, x) -> what the score is of, and key -> such variables."""
    x = jnp.zeros((1, width))
    match method:
        case "trigger_autoencoder":
            network = trigger_autoencoder.model(config)
            drawn = np.zeros((1, trigger_autoencoder.noise_width(network)), np.float32)
            others = drawn, False, np.ones(1, bool)
            part = "mean" if score == "mu2" else "output"
            return (
                lambda variables, x: getattr(network.apply(variables, x, *others), part),
                lambda key: network.init(key, x, *others),
            )
        case "feature_autoencoder":
            encoder = feature_autoencoder.encoder(config)
            decoder = feature_autoencoder.autoencoder(config)

            def reconstructed(variables: Any, x: Any) -> Any:
                return decoder.apply(
                    variables["params"], encoder.apply(variables["encoder"], x)
                ).output

            def start(key: Array) -> dict[str, Any]:
                of_encoder = encoder.init(key, x)
                z = encoder.apply(of_encoder, x)
                return {"encoder": of_encoder, "params": decoder.init(key, z)}

            return reconstructed, start
        case "flow_norm":
            network = flow_norm.model(config, width)

            def velocity(variables: Any, x: Any) -> Any:
                at_time = flow_norm.at_time(variables["params"], config.method.time)
                return network.apply({"params": at_time}, x)

            return velocity, lambda key: network.init(key, jnp.zeros((1, width + 1)))
        case "autoencoder":
            network = autoencoder.model(config)
            return (
                lambda variables, x: network.apply(variables, x).output,
                lambda key: network.init(key, x),
            )
        case _:
            network = student.model(config)
            return network.apply, lambda key: network.init(key, x)
