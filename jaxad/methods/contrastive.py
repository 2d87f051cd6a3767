"""Contrastive learning on sets: a representation in which views of one jet are near each other.

`method.loss` is "jet_clr" (Dillon et al., arXiv:2108.04253), which pulls two physical views of a
jet together and pushes other jets away; "anomaly_clr" (Dillon et al., arXiv:2301.04660), which also
pushes anomalous views away; or "anomaly_clr_plus", which does that alone and needs no other jets.
None of them sees a density: the score is a distance in the representation, from the nearest
background jets or from their mean. The anomalous views are a prior on signals, and named as such
in every report. Networks see log pT, eta and phi, no energies, which a turned jet has none of.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.inputs.particle_set import total_pt
from jaxad.methods import Bench, mahalanobis, nearest_neighbours
from jaxad.methods.stages import rows, sets, views
from jaxad.models.dense import Layers
from jaxad.training import Task, weighted_mean

KINDS = sets.KINDS
LOSSES = ("jet_clr", "anomaly_clr", "anomaly_clr_plus")
SCORES = ("nearest_neighbours", "mahalanobis")
LEAST_SPREAD = 0.1
"""Of a component, in units of that which varies most."""
FAR = 1e9


class Contrastive(nn.Module):
    """Sets (n, M, 4), the last column their mask, to representations (n, d) and embeddings."""

    encoder: nn.Module
    head: nn.Module

    def __call__(self, x: Array) -> tuple[Array, Array]:
        found = self.encoder(x, x[..., -1])
        embedded = self.head(nn.relu(found))
        square = (embedded**2).sum(axis=-1, keepdims=True)
        return found, embedded / jnp.sqrt(jnp.maximum(square, 1e-12))


def model(config: ConfigDict) -> Contrastive:
    """The network of `config.model`.

    Raises:
        UserError: no such network, loss or score.
    """
    for key, known in (("loss", LOSSES), ("score", SCORES)):
        if config.method[key] not in known:
            raise UserError(
                f"method.{key}: expected one of {', '.join(known)}, found {config.method[key]!r}"
            )
    encoder = sets.encoder(config.model, config.model.n_latent)
    return Contrastive(encoder, Layers((64,), config.model.n_latent))


def seen(learnt: dict[str, Array], x: Array) -> Array:
    """What the network sees (n, M, 4) of sets (n, M, 3) (z, eta, phi): standardised, and a mask."""
    there = (x[..., :1] > 0).astype(x.dtype)
    z = jnp.log(jnp.where(there > 0, x[..., :1], 1))
    columns = jnp.concatenate([z, x[..., 1:]], axis=-1)
    scaled = (columns - learnt["shift"][:3]) / learnt["scale"][:3]
    return jnp.concatenate([scaled * there, there], axis=-1)


def _log_sum(similarity: Array, weight: Array, temperature: float) -> Array:
    """log of the sum (n,) of weight x exp(similarity / temperature) (n, m); 0 of nothing."""
    there = weight > 0
    logs = jnp.where(there, jnp.log(jnp.where(there, weight, 1)), -FAR)
    found = jax.nn.logsumexp(similarity / temperature + logs, axis=-1)
    return jnp.where(there.any(axis=-1), found, 0)


def jet_clr(u: Array, v: Array, weight: Array, temperature: float) -> Array:
    """Normalised-temperature cross entropy (n,) of unit vectors (n, d) of two views.

    -log of exp(s(z, z+) / t) over the sum of exp(s(z, z_k) / t) on all views but z itself, the mean
    of both views as z. Jets of `weight` 0 are nobody's others.
    """
    n = len(u)
    both, weights = jnp.concatenate([u, v]), jnp.tile(weight, 2)
    similarity = jnp.matmul(both, both.T, precision="highest")
    positive = jnp.tile((u * v).sum(axis=-1), 2) / temperature
    others = weights * (1 - jnp.eye(2 * n))
    losses = _log_sum(similarity, others, temperature) - positive
    return (losses[:n] + losses[n:]) / 2


def anomaly_clr(u: Array, v: Array, star: Array, weight: Array, temperature: float) -> Array:
    """(n,): -log of exp((s(z, z+) - s(z, z*)) / t) over the sum of exp(s(z, z_k) / t).

    z_k are both physical views `u`, `v` (n, d) of other jets, z* the anomalous view `star`
    (AnomalyCLR).
    """
    similarity = jnp.matmul(u, jnp.concatenate([u, v]).T, precision="highest")
    others = jnp.tile(weight * (1 - jnp.eye(len(u))), (1, 2))
    pulled = anomaly_clr_plus(u, v, star, temperature)
    return pulled + _log_sum(similarity, others, temperature)


def anomaly_clr_plus(u: Array, v: Array, star: Array, temperature: float) -> Array:
    """(n,): -(s(z, z+) - s(z, z*)) / t, without other jets (AnomalyCLR+)."""
    return ((u * star).sum(axis=-1) - (u * v).sum(axis=-1)) / temperature


def task(config: ConfigDict, network: Contrastive, learnt: dict[str, np.ndarray]) -> Task:
    """Training on rows with sets "x" (n, M, 5) and sums of pT "pt" (n,) [GeV].

    Metric "alignment": the mean similarity of both physical views.
    """
    radius, temperature = config.method.radius, config.method.temperature

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return network.init(key, seen(learnt, sets.physical(batch["x"])))["params"], {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        x, pt, weight = sets.physical(batch["x"]), batch["pt"], batch["weight"]
        keys = jax.random.split(key, 4)
        made = [views.physical(k, x, pt, radius) for k in keys[:2]]
        if config.method.loss != "jet_clr":
            odd = views.anomalous(keys[2], x, radius)
            made.append(views.physical(keys[3], odd, pt, radius))
        stacked = seen(learnt, jnp.concatenate(made))
        u, v, *star = jnp.split(network.apply({"params": params}, stacked)[1], len(made))
        if config.method.loss == "jet_clr":
            losses = jet_clr(u, v, weight, temperature)
        elif config.method.loss == "anomaly_clr":
            losses = anomaly_clr(u, v, *star, weight, temperature)
        else:
            losses = anomaly_clr_plus(u, v, *star, temperature)
        alignment = weighted_mean((u * v).sum(axis=-1), weight)
        return weighted_mean(losses, weight), ({"alignment": alignment}, state)

    return Task(init, loss)


def _representations(
    config: ConfigDict, learnt: dict, params: Any, values: np.ndarray
) -> np.ndarray:
    """Representations (n, d) of sets (n, M, 5) by one network."""
    network = model(config)

    def represent(x: Array) -> Array:
        return network.apply({"params": params}, seen(learnt, sets.physical(x)))[0]

    return in_batches(represent, values, "representations", 1024)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train, then keep the representations of `method.n_fit` random training jets.

    Returns:
        Leading axis (members,): {"params"} of the best epochs, "spread" (d,) of components, and
        their "reference" (n_fit, d), "mean" and "whitening" of the neighbours' and the Mahalanobis
        distance; {"inputs"}.
    """
    stage = sets.stage_of(config, dataset.layout, "contrastive")
    network = model(config)
    learnt, train, val = sets.background(config, stage, dataset)
    for part, raw in ((train, dataset.train["x"]), (val, dataset.val["x"])):
        part["pt"] = in_batches(total_pt(dataset.layout), raw, "pT")
    made = task(config, network, learnt)
    found = bench.fit(made, train, val, config.train, config.seed, stage="contrastive")
    best = np.arange(config.train.ensemble), np.argmin(found.value, axis=1)
    params = jax.tree.map(lambda a: a[best], found.params)
    _, values, weight = rows.chosen(
        config, sets.unscaled(stage), dataset, config.method.n_fit, at_least="n_neighbours"
    )
    rows.tell_unweighted(dataset, "nearest_neighbours", "distances know no weights")
    members = []
    for i in best[0]:
        own = jax.tree.map(lambda a, i=i: a[i], params)
        x = _representations(config, learnt, own, values)
        spread = x.std(axis=0)
        spread = np.maximum(spread, max(LEAST_SPREAD * float(spread.max()), 1e-6))
        x = (x / spread).astype(np.float32)
        members.append({"spread": spread, "reference": x} | mahalanobis.whitened(x, weight))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    return stacked | {"params": params, "inputs": learnt}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"nearest_neighbours", "mahalanobis"}: (members, n) each, `method.score` first."""
    stage, network = sets.stage_of(config, layout, "contrastive"), model(config)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = seen(fitted["inputs"], sets.physical(stage.values(raw)))

        def member(own: dict) -> dict[str, Array]:
            z = network.apply({"params": own["params"]}, x)[0] / own["spread"]
            near = nearest_neighbours.mean_distance(z, own["reference"], config.method.n_neighbours)
            return {"nearest_neighbours": near, "mahalanobis": mahalanobis.distance(own, z)}

        found = jax.vmap(member)({k: v for k, v in fitted.items() if k != "inputs"})
        return {name: found[name] for name in dict.fromkeys((config.method.score, *SCORES))}

    return sets.few_at_once(function)


def caution(config: ConfigDict, dataset: Dataset) -> str:
    """Which signals the anomalous views guess at; "" without them."""
    if config.method.loss == "jet_clr":
        return ""
    return (
        f"method.loss={config.method.loss}: its anomalous views ({views.ANOMALOUS}) are a prior on "
        "signals, so that figures for signals like these are not those of a search for anything"
    )
