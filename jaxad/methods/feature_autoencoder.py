"""An autoencoder in the space of self-supervised features, as CMS's anomaly trigger has one.

The features are learned by VICReg (Bardes, Ponce, LeCun, arXiv:2105.04906): two views of an event
should have the same embedding (invariance), whose components vary over events (variance) and are
uncorrelated (covariance). An autoencoder then reconstructs the features of background, frozen and
scaled to unit spread, and the score is the squared distance. How CMS trains its features is not
public: views and weights here are jaxad's own. A view has each object replaced, with probability
`method.corrupted`, by that of another event (arXiv:2106.15147), and Gaussian noise on all inputs.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.methods import Bench
from jaxad.methods.stages import rows
from jaxad.models.dense import DenseAutoencoder, Layers
from jaxad.models.features import Encoder, covariance
from jaxad.training import Task, weighted_mean

KINDS = ("vector",)
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
"""Weights of VICReg's three terms, those of its paper."""
LEAST_SPREAD = 0.1
EXPANDER = (64,)
"""Widths of what features are trained through, which no score needs."""


def encoder(config: ConfigDict) -> Encoder:
    """The network of the features."""
    return Encoder(tuple(config.model.features))


def autoencoder(config: ConfigDict) -> DenseAutoencoder:
    """The network that reconstructs them."""
    return DenseAutoencoder(tuple(config.model.widths), config.model.n_latent)


def _stage(config: ConfigDict, layout: Layout) -> inputs.Stage:
    return inputs.stage(config.inputs, layout, KINDS, "feature_autoencoder")


def objects(names: tuple[tuple[str, str], ...], n: int) -> np.ndarray:
    """The object (n,) that each of n components belongs to: what stands before the dot.

    Examples:
        >>> objects((("jet_1.pt", "GeV"), ("jet_1.eta", ""), ("met", "GeV")), 3)
        array([0, 0, 1])
    """
    known: dict[str, int] = {}
    owners = [name.split(".")[0] for name, _ in names] or [str(i) for i in range(n)]
    return np.array([known.setdefault(owner, len(known)) for owner in owners])


def view(key: Array, x: Array, owner: np.ndarray, corrupted: float, noise: float) -> Array:
    """One view of vectors (n, d), whose components belong to the objects `owner` (d,)."""
    of_order, of_choice, of_noise = jax.random.split(key, 3)
    other = x[jax.random.randint(of_order, (len(x),), 0, len(x))]
    replaced = jax.random.uniform(of_choice, (len(x), owner.max() + 1)) < corrupted
    return jnp.where(replaced[:, owner], other, x) + noise * jax.random.normal(of_noise, x.shape)


def vicreg(a: Array, b: Array, weight: Array) -> dict[str, Array]:
    """VICReg's terms for embeddings (n, d) of two views with weights (n,) of events."""
    n = a.shape[1]
    terms = {"invariance": weighted_mean(jnp.mean((a - b) ** 2, axis=1), weight)}
    found = [covariance(z, weight) for z in (a, b)]
    spreads = [jnp.sqrt(jnp.diagonal(c) + 1e-4) for c in found]
    terms["variance"] = sum(jnp.mean(jax.nn.relu(1 - spread)) for spread in spreads) / 2
    off = [jnp.sum(c**2) - jnp.sum(jnp.diagonal(c) ** 2) for c in found]
    return terms | {"covariance": sum(off) / n}


def feature_task(config: ConfigDict, owner: np.ndarray) -> Task:
    """Training of the features on rows with vectors "x"."""
    network, expander = encoder(config), Layers(EXPANDER, EXPANDER[-1])

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        of_encoder, of_expander = jax.random.split(key)
        params = network.init(of_encoder, batch["x"])
        features = network.apply(params, batch["x"])
        return {"encoder": params, "expander": expander.init(of_expander, features)}, {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        settings = config.method.corrupted, config.method.noise
        views = [view(k, batch["x"], owner, *settings) for k in jax.random.split(key)]
        features = [network.apply(params["encoder"], one) for one in views]
        embedded = [expander.apply(params["expander"], one) for one in features]
        terms = vicreg(*embedded, batch["weight"])
        total = (
            INVARIANCE * terms["invariance"]
            + VARIANCE * terms["variance"]
            + COVARIANCE * terms["covariance"]
        )
        return total, (terms, state)

    return Task(init, loss)


def scaled(params: Any, x: np.ndarray, network: Encoder) -> tuple[Any, np.ndarray]:
    """The encoder with features of unit spread on vectors x (n, d), and these features.

    ReLU passes a positive scale on, so that it becomes a part of the last layer. A feature that
    hardly varies, by less than `LEAST_SPREAD` of the one that varies most, would rule the distance:
    it is scaled as if it varied by that.
    """
    features = np.asarray(network.apply(params, x))
    spread = features.std(axis=0)
    least = max(LEAST_SPREAD * float(spread.max()), 1e-6)
    scale = (1 / np.maximum(spread, least)).astype(np.float32)
    last = f"Dense_{len(network.widths) - 1}"
    layers = params["params"]
    layers = layers | {last: {name: leaf * scale for name, leaf in layers[last].items()}}
    return {"params": layers}, features * scale


def reconstruction_task(config: ConfigDict) -> Task:
    """Training of the autoencoder on rows with features "x"."""
    network = autoencoder(config)

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return network.init(key, batch["x"]), {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        errors = jnp.mean((network.apply(params, batch["x"]).output - batch["x"]) ** 2, axis=1)
        return weighted_mean(errors, batch["weight"]), ({}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Features, then their autoencoder.

    Returns:
        {"encoder": leading axis (members,); "params": (members, best epochs); "inputs"}.
    """
    stage = _stage(config, dataset.layout)
    learnt, train, val = rows.background(config, stage, dataset)
    owner = objects(stage.names, train["x"].shape[1])
    settings = config.feature_train.copy_and_resolve_references()
    settings.ensemble = config.train.ensemble
    found = bench.fit(
        feature_task(config, owner), train, val, settings, config.seed, stage="features"
    )
    members = np.arange(config.train.ensemble)
    best = members, np.argmin(found.value, axis=1)
    of_members = jax.tree.map(lambda a: a[best], found.params["encoder"])
    encoders, features = [], {"train": [], "val": []}
    for i in members:
        params = jax.tree.map(lambda a, i=i: a[i], of_members)
        params, x = scaled(params, train["x"], encoder(config))
        encoders.append(params)
        features["train"].append(x)
        features["val"].append(np.asarray(encoder(config).apply(params, val["x"])))
    own = {name: len(parts[0]) for name, parts in features.items()}
    index = {n: members[:, None] * own[n] + np.arange(own[n]) for n in own}
    weights = {"train": rows.weight_of(train), "val": rows.weight_of(val)}
    fitted = bench.fit(
        reconstruction_task(config),
        *(
            {"x": np.concatenate(parts)}
            | {key: np.tile(values, len(parts)) for key, values in weights[name].items()}
            for name, parts in features.items()
        ),
        config.train,
        config.seed,
        stage="autoencoder",
        train_index=index["train"],
        val_index=index["val"],
    )
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *encoders)
    return {"encoder": stacked, "params": fitted.params, "inputs": learnt}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"distance": (members, n)}: squared distance of features, the mean over the best epochs."""
    stage, network, features = _stage(config, layout), autoencoder(config), encoder(config)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = stage.apply(fitted, raw)

        def one(params: Any, z: Array) -> Array:
            return jnp.sum((network.apply(params, z).output - z) ** 2, axis=1)

        def member(of_encoder: Any, params: Any) -> Array:
            z = features.apply(of_encoder, x)
            return jax.vmap(one, in_axes=(0, None))(params, z).mean(axis=0)

        return {"distance": jax.vmap(member)(fitted["encoder"], fitted["params"])}

    return function
