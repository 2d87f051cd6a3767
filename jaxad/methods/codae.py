"""CoDAE and categorical CoDVAE (Anzalone et al., arXiv:2306.12955): training, import, scores.

Trained on QCD event images; the anomaly is a bad reconstruction, or an unusual code z_m. With
`model.weights`, published arrays take the place of the training. Scores are deterministic: CoDVAE
decodes softmax(logits / temperature), and its noise is drawn once when it is fitted.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs.images import augment
from jaxad.methods import Bench
from jaxad.methods.stages import event_images
from jaxad.methods.stages.event_images import (
    SSIM_WINDOW,
    bce,
    distance_correlation,
    in_chunks,
    ssim,
)
from jaxad.models.codae import CoDAE, CoDVAE, from_keras_arrays
from jaxad.storage.paths import expanded
from jaxad.training import Task, streams, weighted_mean
from jaxad.training.streams import Purpose

KINDS = ("image",)
Shape = tuple[int, int, int]
N_ORIENT = 512
"""Training events on which the signs of z_m are fixed."""


def model(config: ConfigDict, shape: Shape) -> nn.Module:
    """The network of `config.model`, name "codae" or "codvae", for images (h, w, c)."""
    kinds = {"codae": CoDAE, "codvae": CoDVAE}
    if config.model.name not in kinds:
        raise UserError(f"model.name: expected codae or codvae, found {config.model.name!r}")
    return kinds[config.model.name](
        features=tuple(config.model.features),
        latent=config.model.latent,
        groups=config.model.groups,
        mask_groups=config.model.mask_groups,
        channels=shape[2],
        periodic=config.model.periodic,
        shape=shape[:2],
    )


def _dtype(config: ConfigDict) -> Any:
    kinds = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
    if config.model.dtype not in kinds:
        raise UserError(f"model.dtype: expected float32 or bfloat16, found {config.model.dtype!r}")
    return kinds[config.model.dtype]


def _noise_shape(config: ConfigDict, shape: Shape) -> tuple[int, int, int]:
    h, w = (-(-size // 2 ** len(config.model.features)) for size in shape[:2])
    return h, w, config.model.latent


def _variables(fitted: dict) -> dict:
    return {"params": fitted["params"], **fitted.get("state", {})}


def _variational(config: ConfigDict) -> bool:
    return config.model.name == "codvae"


def _apply(
    config: ConfigDict, variables: dict, x: Array, decode: Array | None, kl: Array | None
) -> dict[str, Array]:
    """Logits, z_m and, of a CoDVAE, KL and temperature, all float32; noise as in `CoDVAE`."""
    network, x = model(config, x.shape[1:]), x.astype(_dtype(config))
    if not _variational(config):
        logits, _, z_m = network.apply(variables, x)
        return {"logits": logits.astype(jnp.float32), "z_m": z_m}
    logits, posterior, z_m, divergence = network.apply(variables, x, decode, kl)
    return {
        "logits": logits.astype(jnp.float32),
        "z_m": z_m,
        "kl": divergence,
        "temperature": posterior.temperature.mean((1, 2)),
    }


def task(config: ConfigDict, image: Shape) -> Task:
    """Training on rows with images "x" (n, h, w, c): loss per event, mean over the batch.

    CoDAE: binary cross-entropy summed over pixels. CoDVAE: -log p(x|z) + beta KL. Both may add
    `method.decorrelation` times the distance correlation of the loss with the number of hits.
    """
    if min(image[:2]) < SSIM_WINDOW:
        raise UserError(
            f"codae: takes images of {SSIM_WINDOW} or more pixels a side, found {image[:2]}"
        )
    network, shape = model(config, image), _noise_shape(config, image)
    samples, beta = config.method.samples, config.method.beta

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        noise = (jnp.zeros((1, *shape)), jnp.zeros((1, 1, *shape))) if _variational(config) else ()
        variables = network.init(key, batch["x"][:1].astype(jnp.float32), *noise)
        return variables["params"], {k: v for k, v in variables.items() if k != "params"}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        augment_key, noise_key = jax.random.split(key)
        x, weight = batch["x"], batch["weight"]
        if training and config.method.augment:
            x = augment(x, augment_key)
        x = x.astype(jnp.float32)
        decode, kl = None, None
        if _variational(config):
            kl = jax.random.gumbel(noise_key, (samples, len(x), *shape))
            decode = kl[0] if training else jnp.zeros((1, *shape))
        found = _apply(config, {"params": params, **state}, x, decode, kl)
        errors = bce(x, found["logits"])
        similarity = ssim(x, jax.nn.sigmoid(found["logits"]))
        metrics = {"bce": weighted_mean(errors, weight), "ssim": weighted_mean(similarity, weight)}
        total = errors
        if _variational(config):
            total = errors + beta * found["kl"]
            metrics["kl"] = weighted_mean(found["kl"], weight)
            metrics["temperature"] = weighted_mean(found["temperature"], weight)
        value = weighted_mean(total, weight)
        if config.method.decorrelation:
            hits = x.sum((1, 2, 3))
            metrics["distance_correlation"] = distance_correlation(errors, hits, weight)
            value += config.method.decorrelation * metrics["distance_correlation"]
        return value, (metrics, state)

    return Task(init, loss, cpu_rows=0 if config.method.decorrelation else 8)


def published(config: ConfigDict, shape: Shape) -> tuple[dict, dict]:
    """(params, state) of the arrays in the file `model.weights`, leading axes (1, 1)."""
    path = expanded(config.model.weights)
    if not path.is_file():
        raise UserError(f"model.weights: {path}: no such file")
    with np.load(path, allow_pickle=False) as file:
        params = from_keras_arrays({key: file[key] for key in file.files})
    images = jnp.zeros((1, *shape), jnp.float32)
    key = streams.key(config.seed, Purpose.INITIAL, "codae")
    fresh, state = jax.jit(task(config, shape).init)(key, {"x": images})
    if _variational(config):
        params["prior_logits"] = np.asarray(fresh["prior_logits"])
    expected, found = jax.tree.map(jnp.shape, fresh), jax.tree.map(jnp.shape, params)
    if expected != found:
        raise UserError(
            f"model.weights: {path}: the arrays are not those of model.name="
            f"{config.model.name} with the shapes of `model`; give the file of that model"
        )
    return jax.tree.map(lambda a: np.asarray(a, np.float32)[None, None], (params, state))


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on QCD, or import `model.weights`; then fix the signs of z_m and scoring's noise."""
    train, val = event_images.background(config, dataset, "codae")
    image = train["x"].shape[1:]
    if config.model.weights:
        params, state = published(config, image)
    else:
        result = bench.fit(
            task(config, image), train, val, config.train, config.seed, stage="codae"
        )
        params, state = result.params, result.state
    fitted = {"params": params, "state": state}
    fitted["sign"] = _orientation(config, fitted, train["x"][:N_ORIENT])
    if _variational(config):
        shape = (config.method.samples, 1, *_noise_shape(config, image))
        key = streams.key(config.seed, Purpose.NOISE, "codae")
        noise = np.asarray(jax.random.gumbel(key, shape))
        fitted["noise"] = np.broadcast_to(noise, (*fitted["sign"].shape[:2], *shape))
    return fitted


def _orientation(config: ConfigDict, fitted: dict, x: np.ndarray) -> np.ndarray:
    """Signs (members, best epochs, 2) that make z_m grow with the hits of background events."""
    network = model(config, x.shape[1:])

    @jax.jit
    def codes(variables: dict, x: Array) -> Array:
        return network.apply(variables, x, method="mask_code")

    hits = x.sum((1, 2, 3), dtype=np.float64)
    leading = jax.tree.leaves(fitted["params"])[0].shape[:2]
    sign = np.ones((*leading, 2), np.float32)
    for place in np.ndindex(*leading):
        variables = _variables(jax.tree.map(lambda a, place=place: a[place], fitted))
        parts = [codes(variables, jnp.asarray(part, jnp.float32)) for part in _parts(x)]
        z_m = np.concatenate([np.asarray(part, np.float64) for part in parts])
        slope = (z_m - z_m.mean(0)).T @ (hits - hits.mean())
        sign[place] = np.where(slope < 0, -1, 1)
    return sign


def _parts(x: np.ndarray, size: int = 128) -> list[np.ndarray]:
    return [x[start : start + size] for start in range(0, len(x), size)]


def _scores(config: ConfigDict, fitted: dict, x: Array) -> dict[str, Array]:
    """Scores (n,) of one network on network inputs."""

    def decoded(noise: Array | None) -> dict[str, Array]:
        found = _apply(config, _variables(fitted), x, noise, fitted.get("noise"))
        z_m = found["z_m"] * fitted["sign"]
        values = event_images.reconstruction_scores(x, jax.nn.sigmoid(found["logits"]))
        values |= {"bce": bce(x, found["logits"]), "z_m_norm": jnp.linalg.norm(z_m, axis=-1)}
        values |= {f"z_m_{i}": z_m[:, i] for i in range(2)}
        if _variational(config):
            values["temperature"] = found["temperature"]
            if not config.model.weights:
                values["kl"] = found["kl"]
        return values

    if not _variational(config):
        return decoded(None)
    if not config.method.monte_carlo:
        return decoded(jnp.zeros_like(fitted["noise"][0]))
    return jax.tree.map(lambda a: a.mean(0), jax.lax.map(decoded, fitted["noise"]))


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{score: (members, n)}, "mse" the default.

    mse, dice, abs, bce: reconstruction; z_m_0, z_m_1: code, signed so that it grows with the hits
    of background; z_m_norm; pixels_in, pixels_out; of a CoDVAE kl (not of published arrays, which
    have no prior) and temperature. `method.monte_carlo` averages over `method.samples` codes.
    """
    stage = event_images.stage_of(config, layout, "codae")
    return event_images.scorer(stage, partial(_scores, config), "mse")


def outputs(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """Input and reconstruction (n, h, w), summed over channels, and z_m (n, 2), first member."""
    stage = event_images.stage_of(config, layout, "codae")

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        variables = _variables(event_images.first_member(fitted))

        def chunk(images: Array) -> dict[str, Array]:
            x = stage.values(images)
            decode = jnp.zeros((1, *_noise_shape(config, x.shape[1:])))
            found = _apply(config, variables, x, decode, decode[None])
            return {
                "input": x.sum(-1),
                "reconstruction": jax.nn.sigmoid(found["logits"]).sum(-1),
                "latent": found["z_m"],
            }

        return in_chunks(chunk, raw)

    return function
