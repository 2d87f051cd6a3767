"""Scorers of random weights on random events, for what does not depend on training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from configs import adc2021_vae
from jaxad.methods import trigger_events
from jaxad.models.trigger import MODELS
from jaxad.scorer import Scorer


def trigger_data(n: int, seed: int = 0) -> np.ndarray:
    """Events (n, 19, 3) = (pT [GeV], eta, phi) with about half of the slots empty."""
    rng = np.random.default_rng(seed)
    x = np.stack(
        [rng.gamma(2, 20, (n, 19)), rng.uniform(-2, 2, (n, 19)), rng.uniform(-3, 3, (n, 19))], -1
    )
    return (x * (rng.random((n, 19, 1)) < 0.5)).astype(np.float32)


def calibrated(scorer: Scorer, events: np.ndarray) -> Scorer:
    return dataclasses.replace(scorer, background=np.sort(scorer(events)))


def trigger_scorer(name: str = "dense_vae", n_background: int = 2000) -> Scorer:
    """The trigger autoencoder `name`, an ensemble of two with two epochs each."""
    config = adc2021_vae.get_config()
    config.model.name = name
    width = getattr(MODELS[name], "n_latent", 1)
    arguments = (jnp.zeros((1, 19, 3)), jnp.zeros((1, width)), False, jnp.ones(1, bool))
    shapes = dict(jax.eval_shape(lambda: MODELS[name].init(jax.random.key(0), *arguments)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: (
            rng.uniform(0.1, 0.3, (2, 2, *leaf.shape)).astype(np.float32)
            * rng.choice([-1, 1], leaf.shape).astype(np.float32) ** (len(leaf.shape) > 1)
        ),
        shapes,
    )
    fitted = {"params": variables.pop("params"), "state": variables}
    fitted["scale"] = trigger_events.pt_scale(trigger_data(500, seed=1))
    scorer = Scorer("trigger_autoencoder", config, fitted, (19, 3), "trigger event")
    return calibrated(scorer, trigger_data(n_background, seed=2))
