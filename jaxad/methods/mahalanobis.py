"""Mahalanobis distance of an event's vector from the background's mean (Mahalanobis, 1936).

The square root of (x - m)^T C^-1 (x - m), with mean m and covariance C of `method.n_fit` random
training events. `FLOOR` is added to the diagonal of C: a component that hardly varies, or is the
sum of others, has no inverse.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.methods import Bench
from jaxad.methods.stages import rows

KINDS = ("vector",)
FLOOR = 1e-3


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict[str, np.ndarray]:
    """Mean (d,) and whitening (d, d), W with W W^T = (C + FLOOR)^-1, float32; {"inputs"}."""
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, "mahalanobis")
    learnt, x, weight = rows.chosen(config, stage, dataset, config.method.n_fit)
    return whitened(x, weight) | {"inputs": learnt}


def whitened(x: np.ndarray, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """ "mean" (d,) and "whitening" (d, d) of rows x (n, d), perhaps of weights (n,)."""
    x = x.astype(np.float64)
    if weight is None:
        mean = x.mean(axis=0)
        covariance = (x - mean).T @ (x - mean) / len(x)
    else:
        mean = np.average(x, axis=0, weights=weight)
        covariance = (x - mean).T @ ((x - mean) * weight[:, None]) / weight.sum()
    covariance += FLOOR * np.eye(x.shape[1])
    variances, axes = np.linalg.eigh(covariance)
    return {
        "mean": mean.astype(np.float32),
        "whitening": (axes / np.sqrt(variances)).astype(np.float32),
    }


def distance(fitted: dict, x: Array) -> Array:
    """Mahalanobis distance (n,) of rows x (n, d) from what `whitened` found."""
    white = (x - fitted["mean"]) @ fitted["whitening"]
    return jnp.sqrt(jnp.sum(white**2, axis=-1))


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"distance": (n,)}: the Mahalanobis distance."""
    stage = inputs.stage(config.inputs, layout, KINDS, "mahalanobis")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        return {"distance": distance(fitted, stage.apply(fitted, raw))}

    return function
