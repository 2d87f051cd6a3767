"""Normalised autoencoders: low energy where background is, and high wherever else a chain gets.

The energy E(x) is the mean over components of the squared reconstruction error. The first phase
trains it down on background, as any autoencoder. The second makes exp(-E) a density: samples of the
model, drawn by chains (`jaxad.methods.stages.langevin`), are trained up, so that what is simpler
than background is no longer reconstructed for nothing.

`method.normalisation`:

    "langevin"     <E+> - <E-> + gamma <(E-)^2> + l2 |w|^2, samples starting on the manifold
                   (Yoon, Noh, Park, arXiv:2105.05735; for jets Dillon et al., arXiv:2206.14225)
    "wasserstein"  transport cost between batch and samples of persistent chains, whose gradient
                   goes through the chains (CMS, arXiv:2510.02168)

With `method.energy_scale` = "pretrained" energies are in units of E0, the mean validation energy at
the end of the first phase; with gamma = 1/2 the loss is then stationary at E- = E0. The score is E.
Neither loss says how far the training is: that is told by the distance of samples from validation
events (`monitors`), whatever the AUC.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset, Rows, n_rows
from jaxad.data.layout import Layout
from jaxad.devices import hosts
from jaxad.errors import UserError
from jaxad.methods import Bench
from jaxad.methods.stages import langevin, rows, transport
from jaxad.models import spectral
from jaxad.models.spherical import SIDE, JetAutoencoder, SphericalAutoencoder, project
from jaxad.training import Fitted, Task, streams, weighted_mean
from jaxad.training.streams import Purpose

KINDS = ("image", "vector")
CPU_ROWS = 8
"""Images of 40 x 40 of which a processor's cache holds the maps of `conv40`."""
MONITORED = 2048
"""Validation events, at most, that samples are compared with after an epoch."""
RATIO = (0.3, 3.0)
"""E-/E+ between which an epoch may be chosen."""
FAR = 2.0
"""Distance of samples above which no density is learnt, in units of that of background's halves."""
UNGUARDED = 1e3
"""Times its distance an epoch outside `RATIO` counts for: worse than all inside, still ordered."""

Network = SphericalAutoencoder | JetAutoencoder


def stage_of(config: ConfigDict, layout: Layout) -> inputs.Stage:
    """Vectors, or images in units of the brightest pixel of the training background.

    Raises:
        UserError: settings that name nothing, or a network that does not take the input.
    """
    for key, known in (
        ("normalisation", ("langevin", "wasserstein")),
        ("energy_scale", ("pretrained", "none")),
        ("transport", ("sliced", "sinkhorn")),
    ):
        if config.method[key] not in known:
            raise UserError(
                f"method.{key}: expected {' or '.join(known)}, found {config.method[key]!r}"
            )
    stage = inputs.stage(config.inputs, layout, KINDS, "normalised_autoencoder")
    shape = rows.shape_of(stage)[1:]
    if config.model.name not in ("dense", "conv40"):
        raise UserError(f"model.name: expected dense or conv40, found {config.model.name!r}")
    if config.model.name == "conv40" and shape != (SIDE, SIDE, 1):
        raise UserError(
            f"model.name=conv40: takes images {(SIDE, SIDE, 1)}, found {shape}: set "
            f"inputs.n_pixels={SIDE}, or model.name=dense"
        )
    if stage.kind == "vector":
        return stage
    return dataclasses.replace(
        stage,
        fit=lambda values: {"brightest": np.float32(max(values.max(), 1e-30))},
        scale=lambda fitted, values: values / fitted["brightest"],
        unit_sum=False,
        picture={**stage.picture, "unit": "brightest pixel of the training background"},
    )


def model(config: ConfigDict, stage: inputs.Stage) -> Network:
    """The network of `config.model` for a stage of `stage_of`."""
    if config.model.name == "conv40":
        return JetAutoencoder(n_latent=config.model.n_latent)
    shape = tuple(rows.shape_of(stage)[1:])
    widths, bounded = tuple(config.model.widths), stage.kind == "image"
    return SphericalAutoencoder(shape, widths, config.model.n_latent, bounded)


def energy(network: Network, params: Any, x: Array) -> Array:
    """E (n,) = mean over components of (x - D(e(x)))^2 of inputs x (n, *shape)."""
    difference = network.apply({"params": params}, x).output - x
    return jnp.mean(difference**2, axis=range(1, x.ndim))


def effective(network: Network, params: Any, state: dict, training: bool) -> tuple[Any, dict]:
    """Parameters with spectral norms of one where the network has them, and the new vectors."""
    if not network.spectral:
        return params, state["vectors"]
    return spectral.normalised(params, state["vectors"], update=training)


def pretraining(network: Network) -> Task:
    """The first phase, on rows "x": the mean energy of background."""

    def init(key: Array, batch: Rows) -> tuple[Any, dict]:
        of_params, of_vectors = jax.random.split(key)
        params = network.init(of_params, batch["x"][:1])["params"]
        vectors = spectral.start(params, of_vectors) if network.spectral else {}
        return params, {"vectors": vectors}

    def loss(params: Any, state: dict, batch: Rows, key: Array, training: bool) -> tuple:
        plain, vectors = effective(network, params, state, training)
        value = weighted_mean(energy(network, plain, batch["x"]), batch["weight"])
        return value, ({}, {"vectors": vectors})

    return Task(init, loss)


def normalising(config: ConfigDict, network: Network, bounds: tuple[float, float]) -> Task:
    """The second phase, on rows "x" of training; a validation row is a sample (n, *shape) of them.

    The state has "vectors", "buffer" and the "scale" of energies. Chains of rows of weight 0 count
    nowhere, and the buffer keeps what lies in their places.
    """
    settings, by_transport = config.method, config.method.normalisation == "wasserstein"
    walks = langevin.walk_of(config.chains, "latent"), langevin.walk_of(config.chains, "input")

    def sampled(plain: Any, state: dict, shape: tuple, key: Array) -> langevin.Samples:
        of_fresh, of_start, of_chain = jax.random.split(key, 3)
        heat = state["scale"] * settings.temperature

        def hot(x: Array) -> Array:
            return energy(network, plain, x) / heat

        def decode(z: Array) -> Array:
            return network.apply({"params": plain}, z, method="decode")

        fresh = restarts(config, of_fresh, shape, bounds)
        start = langevin.drawn(state["buffer"], fresh, config.chains.restart, of_start)
        if by_transport:
            return langevin.among_inputs(walks[1], hot, bounds, start, of_chain)
        return langevin.on_manifold(walks, hot, decode, bounds, start, of_chain)

    def one(params: Any, state: dict, x: Array, weight: Array, key: Array, training: bool) -> tuple:
        of_lines, of_chains = jax.random.split(key)
        plain, vectors = effective(network, params, state, training)
        fixed = plain if by_transport else jax.lax.stop_gradient(plain)
        samples = sampled(fixed, state, x.shape, of_chains)
        still = jax.lax.stop_gradient(samples)
        flat = x.reshape(len(x), -1)
        along = transport.directions(of_lines, flat.shape[1], settings.projections)
        positive, negative, begun = (
            energy(network, plain, v) / state["scale"] for v in (x, still.x, still.start)
        )
        if by_transport:
            ends = samples.x.reshape(flat.shape)
            if settings.transport == "sliced":
                value = transport.sliced(flat, ends, along, weight)
            else:
                value = transport.sinkhorn(flat, ends, weight)
        else:
            value = weighted_mean(positive - negative + settings.gamma * negative**2, weight)
            if settings.l2:
                value += settings.l2 * sum(jnp.sum(w**2) for w in weights_of(params))
        energies = {"data": positive, "samples": negative, "start": begun}
        metrics = monitors(flat, still, bounds, along, weight) | {
            f"energy_{name}": weighted_mean(found * state["scale"], weight)
            for name, found in energies.items()
        }
        metrics |= guarded(metrics) | {"spread": langevin.spread(state["buffer"])}
        buffer = langevin.pushed(state["buffer"], still.kept, weight)
        return value, (metrics, state | {"vectors": vectors, "buffer": buffer})

    def loss(params: Any, state: dict, batch: Rows, key: Array, training: bool) -> tuple:
        if training:
            return one(params, state, batch["x"], batch["weight"], key, True)

        def of_sample(x: Array) -> tuple:
            value, (metrics, _) = one(params, state, x, jnp.ones(len(x)), key, False)
            return value, metrics

        found = jax.vmap(of_sample)(batch["x"])
        value, metrics = jax.tree.map(lambda v: weighted_mean(v, batch["weight"]), found)
        return value, (metrics, state)

    return Task(None, loss)


def weights_of(params: Any) -> list[Array]:
    """The weights among parameters: all but biases and slopes."""
    return [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]


def restarts(config: ConfigDict, key: Array, shape: tuple, bounds: tuple[float, float]) -> Array:
    """Starts of n chains that go on from none, for inputs of `shape` (n, ...).

    Latents are uniform on the sphere, vectors standard normal, pixels uniform.
    """
    if config.method.normalisation == "langevin":
        return project(jax.random.normal(key, (shape[0], config.model.n_latent)))
    if len(shape) == 2:
        return jnp.clip(jax.random.normal(key, shape), *bounds)
    return jax.random.uniform(key, shape)


def monitors(
    x: Array, samples: langevin.Samples, bounds: tuple[float, float], along: Array, weight: Array
) -> dict[str, Array]:
    """What tells, without signal, whether samples are like background x (n, d).

    wasserstein: root of the sliced transport cost between halves of the events and as many samples;
    floor: that between the two halves of the events, what perfect samples would have; clipped:
    share of the steps with a clipped gradient; at_bound: share of the samples' components there.
    """
    pairs = len(x) // 2 * 2
    both = weight[0:pairs:2] * weight[1:pairs:2]
    ends = samples.x.reshape(x.shape)
    halves = jnp.stack([v[i:pairs:2] for v in (x, ends) for i in (0, 1)])
    first, second, *drawn = transport.projected(halves, along, both)

    def distance(a: Array, b: Array) -> Array:
        return jnp.sqrt(transport.between(a, b, both) + 1e-20)

    low, high = bounds
    at_bound = jnp.mean((ends <= low) | (ends >= high), axis=1)
    return {
        "wasserstein": (distance(first, drawn[0]) + distance(second, drawn[1])) / 2,
        "floor": distance(first, second),
        "clipped": weighted_mean(samples.clipped, weight),
        "at_bound": weighted_mean(at_bound, weight),
    }


def guarded(metrics: dict[str, Array]) -> dict[str, Array]:
    """The "ratio" E-/E+, and the distance that chooses epochs: large where that is outside."""
    ratio = metrics["energy_samples"] / jnp.maximum(metrics["energy_data"], 1e-30)
    inside = (ratio > RATIO[0]) & (ratio < RATIO[1])
    return {"ratio": ratio, "guarded": metrics["wasserstein"] * jnp.where(inside, 1, UNGUARDED)}


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Both phases, on the training background.

    Returns:
        {"params": (members, best epochs), "before": those of the first phase (members, 1), with
        spectral norms divided out; "monitors": name -> (members, best epochs) at the chosen
        epochs; "inputs"}.

    Raises:
        UserError: a buffer smaller than a batch; as `stage_of`.
    """
    stage = stage_of(config, dataset.layout)
    learnt, train, val = rows.background(config, stage, dataset)
    batch = min(config.normalise_train.batch_size, n_rows(train))
    if config.chains.buffer < batch:
        raise UserError(
            f"chains.buffer: expected at least the {batch} of a batch, found {config.chains.buffer}"
        )
    if "weight" in train:
        counted = "transport and " if config.method.normalisation == "wasserstein" else ""
        rows.tell(f"normalised_autoencoder: {counted}distances of samples count events once")
    network = model(config, stage)
    bounds = (0.0, 1.0) if stage.kind == "image" else (-config.chains.bound, config.chains.bound)
    first = bench.fit(
        pretraining(network), train, val, config.train, config.seed, stage="autoencoder"
    )
    best = np.arange(config.train.ensemble), np.argmin(first.value, axis=1)
    params, state = jax.tree.map(lambda a: a[best], (first.params, first.state))
    scale = first.value[best].astype(np.float32)
    if config.method.energy_scale == "none":
        scale = np.ones_like(scale)
    state = state | {"scale": scale, "buffer": buffers(config, train["x"].shape[1:], bounds)}
    settings = config.normalise_train.copy_and_resolve_references()
    settings.ensemble = config.train.ensemble
    second = bench.fit(
        normalising(config, network, bounds),
        train,
        compared(val),
        settings,
        config.seed,
        stage="normalisation",
        initial=(params, state),
    )
    folded = partial(effective, network, training=False)
    found = {
        "params": jax.vmap(jax.vmap(lambda p, s: folded(p, s)[0]))(second.params, second.state),
        "before": jax.vmap(lambda p, s: folded(p, s)[0])(params, state),
        "monitors": chosen(second, settings),
        "inputs": learnt,
    }
    found["before"] = jax.tree.map(lambda a: a[:, None], found["before"])
    if hosts.leads():
        print(f"normalisation: {convergence(found)['reason']}", flush=True)
    return found


def compared(val: Rows) -> Rows:
    """The row "x" (1, n, *shape) of validation events that samples are compared with.

    None of them has weight 0.
    """
    x = val["x"][val["weight"] > 0] if "weight" in val else val["x"]
    return {"x": np.asarray(x[:MONITORED])[None]}


def buffers(config: ConfigDict, shape: tuple, bounds: tuple[float, float]) -> Any:
    """Empty buffers (members, ...): latents, or inputs, where they are images in half precision."""

    def one(key: Array) -> Any:
        rows = restarts(config, key, (config.chains.buffer, *shape), bounds)
        return langevin.new_buffer(rows.astype(jnp.float16) if rows.ndim > 2 else rows)

    seeds = [config.seed + i for i in range(config.train.ensemble)]
    keys = [streams.key(seed, Purpose.NOISE, "normalisation") for seed in seeds]
    return jax.tree.map(lambda *a: np.stack(a), *map(one, keys))


def chosen(fitted: Fitted, settings: ConfigDict) -> dict[str, np.ndarray]:
    """Validation metrics, and the "epoch", at the chosen epochs: name -> (members, best epochs)."""
    records = fitted.history
    names = [name for name in records[0] if name.startswith("val_")]
    table = {name: np.array([np.atleast_1d(r[name]) for r in records]) for name in names}
    sign = -1.0 if settings.maximize else 1.0
    value = sign * table[f"val_{settings.monitor}"].astype(np.float32)
    epoch = np.abs(value[:, :, None] - fitted.value).argmin(axis=0)
    every = np.arange(len(epoch))[:, None]
    found = {name.removeprefix("val_"): v[epoch, every] for name, v in table.items()}
    return {name: v.astype(np.float32) for name, v in found.items()} | {"epoch": epoch}


def convergence(fitted: dict) -> dict[str, Any]:
    """Whether samples of the chosen epochs are like background, in all members, and what says so.

    Keys: converged, reason; lists over members and best epochs: epoch, wasserstein_over_floor,
    energy_ratio, clipped, at_bound, spread.
    """
    found = {name: np.asarray(v).reshape(-1) for name, v in fitted["monitors"].items()}
    away = found["wasserstein"] / np.maximum(found["floor"], 1e-20)
    ratio = found["ratio"]
    good = (away <= FAR) & (ratio > RATIO[0]) & (ratio < RATIO[1])
    seen = (
        f"W/W0 {_span(away)} (at most {FAR:g}), E-/E+ {_span(ratio)} ({RATIO[0]:g} to {RATIO[1]:g})"
    )
    many = f" in {(~good).sum()} of {len(good)}" if len(good) > 1 else ""
    reason = f"not converged{many}: {seen}: the score is no density"
    return {
        "converged": bool(good.all()),
        "reason": f"converged: {seen}" if good.all() else reason,
        "wasserstein_over_floor": away.tolist(),
        "energy_ratio": ratio.tolist(),
        **{name: found[name].tolist() for name in ("epoch", "clipped", "at_bound", "spread")},
    }


def _span(values: np.ndarray) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low} to {high}"


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"nae", "ae"}: (members, n) energies after both phases, and after the first alone.

    The mean over the best epochs.
    """
    stage = stage_of(config, layout)
    network = model(config, stage)
    at_once = CPU_ROWS if isinstance(network, JetAutoencoder) else 0

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        def energies(x: Array) -> dict[str, Array]:
            of_all = jax.vmap(jax.vmap(lambda params: energy(network, params, x)))
            phases = {"nae": "params", "ae": "before"}
            return {name: of_all(fitted[key]).mean(axis=1) for name, key in phases.items()}

        return rows.in_cache(energies, stage.apply(fitted, raw), at_once)

    return function


def outputs(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """Input, reconstruction (as it) and latent (n, d) of the first member's best epoch."""
    stage = stage_of(config, layout)
    network = model(config, stage)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        x = stage.apply(fitted, raw)
        params = jax.tree.map(lambda a: a[0, 0], fitted["params"])
        result = network.apply({"params": params}, x)
        return {"input": x, "reconstruction": result.output, "latent": result.latent}

    return function
