"""The float network's own loss, where its layers up to the code are quantised."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Rows
from jaxad.errors import UserError
from jaxad.methods import trigger_autoencoder
from jaxad.models.quantized import Output
from jaxad.models.vae import gaussian_kl
from jaxad.training import weighted_mean

LAYERS = {
    ("mu2", "encoder"): (("Dense_0", ""), ("Dense_1", ""), ("_Bottleneck_0/mean", "")),
    ("mu2", "encoder_norm"): (
        ("Dense_0", "BatchNorm_0"),
        ("Dense_1", "BatchNorm_1"),
        ("_Bottleneck_0/mean", ""),
    ),
    ("mse", "challenge"): tuple((f"Dense_{number}", "") for number in range(4)),
}
"""Score and model.name of a trigger_autoencoder -> modules that layers replace, and norms."""


def require_own_loss(score: str, method: str, config: ConfigDict) -> None:
    """Refuses a float network whose loss cannot take the results of quantised layers.

    Raises:
        UserError: any but those of `LAYERS`.
    """
    name = config.get("model", {}).get("name", "")
    if method != "trigger_autoencoder" or (score, name) not in LAYERS:
        known = ", ".join(f"{name} ({score})" for score, name in LAYERS)
        raise UserError(
            f"method.target=loss: expected a trigger_autoencoder of model.name (method.score) "
            f"{known}, found {name or method}: set method.target=codes"
        )


def own_loss(
    config: ConfigDict,
    score: str,
    params: Any,
    found: Output,
    batch: Rows,
    key: Array,
    training: bool,
) -> Array:
    """Its loss () of a batch, of which the quantised layers gave `found`.

    Args:
        config: of the float network.
        params: its own; those of layers that are replaced are not read.
    """
    network, layers = trigger_autoencoder.model(config), LAYERS[score, config.model.name]
    paths = [tuple(path.split("/")) for path, _ in layers]
    given = dict(zip(paths, (*found.hidden, found.codes), strict=True))
    norms = {norm for _, norm in layers}

    def replaced(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        path = context.module.path
        if context.method_name == "__call__" and path in given:
            return given[path]
        return args[0] if path and path[-1] in norms else call(*args, **kwargs)

    x, weight = batch["x"], batch["weight"]
    noise = jax.random.normal(key, found.codes.shape) * training
    with nn.intercept_methods(replaced):
        output = network.apply({"params": params}, x, noise, training, weight > 0)
    beta = config.method.beta
    error = trigger_autoencoder.squared_error(config.method.loss, {}, x, output.output)
    if output.log_var is None:
        return weighted_mean(error, weight)
    divergence = gaussian_kl(output.mean, output.log_var, 0.0, 1.0)
    return weighted_mean((1 - beta) * error + beta * divergence, weight)
