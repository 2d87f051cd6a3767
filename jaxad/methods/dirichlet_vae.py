"""Dirichlet VAE on event images (Dillon et al., arXiv:2104.08291; arXiv:2306.12955).

Every event is a mixture of a few learned images; what the rarer of them explain is anomalous.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.inputs.images import augment
from jaxad.methods import Bench
from jaxad.methods.stages import event_images
from jaxad.methods.stages.event_images import in_chunks
from jaxad.models.vae import DirichletVAE, dirichlet_prior, gaussian_kl
from jaxad.training import Task, weighted_mean

KINDS = ("image",)


def model(config: ConfigDict, pixels: int) -> DirichletVAE:
    """The network of `config.model` for images of so many pixels, over all channels."""
    return DirichletVAE(
        pixels=pixels,
        latent=len(config.method.concentration),
        hidden=config.model.hidden,
    )


def _flat(x: Array) -> Array:
    return x.reshape(x.shape[0], -1).astype(jnp.float32)


def reconstruction_loss(x: Array, log_y: Array) -> Array:
    """Kullback-Leibler divergence sum x log(x / y) of images (n, pixels): (n,).

    The mask is not normalised, so an event counts in proportion to its hits.
    """
    return jnp.sum(jax.scipy.special.xlogy(x, x) - x * log_y, axis=-1)


def task(config: ConfigDict) -> Task:
    """Training on rows with images "x": reconstruction plus `method.alpha` Gaussian KL."""
    prior = dirichlet_prior(config.method.concentration)
    k = len(config.method.concentration)

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        x = _flat(batch["x"][:1])
        variables = model(config, x.shape[1]).init(key, x, jnp.zeros((1, k)))
        return variables["params"], {"batch_stats": variables["batch_stats"]}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        augment_key, noise_key = jax.random.split(key)
        weight, x = batch["weight"], batch["x"]
        x = _flat(augment(x, augment_key) if training and config.method.augment else x)
        noise = jax.random.normal(noise_key, (len(x), k)) * training
        (mean, log_var, log_y), updated = model(config, x.shape[1]).apply(
            {"params": params, **state}, x, noise, training, weight > 0, mutable=["batch_stats"]
        )
        reconstruction = weighted_mean(reconstruction_loss(x, log_y), weight)
        divergence = weighted_mean(gaussian_kl(mean, log_var, *prior), weight)
        metrics = {"reconstruction": reconstruction, "kl": divergence}
        total = reconstruction + config.method.alpha * divergence
        return total, (metrics, updated if training else state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on QCD: {"params", "state"} with leading axes (members, best epochs)."""
    train, val = event_images.background(config, dataset, "dirichlet_vae")
    result = bench.fit(task(config), train, val, config.train, config.seed, stage="dirichlet")
    return {"params": result.params, "state": result.state}


def _apply(config: ConfigDict, fitted: dict, x: Array) -> tuple[Array, Array, Array]:
    k = len(config.method.concentration)
    variables = {"params": fitted["params"], **fitted["state"]}
    flat = _flat(x)
    return model(config, flat.shape[1]).apply(variables, flat, jnp.zeros((1, k)))


def _scores(config: ConfigDict, fitted: dict, x: Array) -> dict[str, Array]:
    mean, log_var, log_y = _apply(config, fitted, x)
    mixture = jax.nn.softmax(mean)
    prior = dirichlet_prior(config.method.concentration)
    values = {
        "rare": 1.0 - mixture[:, 0],
        "reconstruction": reconstruction_loss(_flat(x), log_y),
        "kl": gaussian_kl(mean, log_var, *prior),
        "pixels_in": _flat(x).sum(-1),
        "latent_0": -mean[:, 0],
    }
    for i in range(1, mixture.shape[-1]):
        values |= {f"mixture_{i}": mixture[:, i], f"latent_{i}": mean[:, i]}
    return values


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{score: (members, n)}, "rare" the default.

    rare: share of all components but the prior's largest (component 0); mixture_1, ...: share of
    each other; latent_0: minus the mean of component 0; latent_1, ...: mean of each other;
    reconstruction, kl: the parts of the loss; pixels_in.
    """
    stage = event_images.stage_of(config, layout, "dirichlet_vae")
    return event_images.scorer(stage, partial(_scores, config), "rare")


def outputs(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """Input, output scaled to its content (n, h, w) and mixture (n, k) of the first member."""
    stage = event_images.stage_of(config, layout, "dirichlet_vae")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        first = event_images.first_member(fitted)

        def chunk(images: Array) -> dict[str, Array]:
            x = stage.values(images)
            mean, _, log_y = _apply(config, first, x)
            y = jnp.exp(log_y) * _flat(x).sum(-1, keepdims=True)
            return {
                "input": x.sum(-1),
                "reconstruction": y.reshape(x.shape).sum(-1),
                "latent": jax.nn.softmax(mean),
            }

        return in_chunks(chunk, raw)

    return function
