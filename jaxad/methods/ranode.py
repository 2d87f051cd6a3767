"""R-ANODE: residual anomaly detection with density estimation (Das, Kasieczka, Shih,
arXiv:2312.11629).

The data of the signal region are fitted by w p_S(x, m) + (1 - w) p_B(x, m): the background is the
density of the sidebands times the mass spectrum, held fixed, and only the signal's density p_S and
its fraction w are learned. The score is log p_S - log p_B.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.dataset import Dataset, take
from jaxad.errors import UserError
from jaxad.inputs import logit as scaling
from jaxad.methods import Bench, cathode
from jaxad.methods.stages import atoms, density, weak
from jaxad.methods.stages.rows import weight_of
from jaxad.metrics import regression
from jaxad.metrics.families import Family, basis
from jaxad.models.flow import RealNVP
from jaxad.training import Task, weighted_mean

KINDS = ("vector",)
RESONANT = True
MASS_BINS = 50


def task(flow: RealNVP, initial_fraction: float) -> Task:
    """Training of p_S on scaled "z" (N, F + 1), with "log_background" (N,) in the same units."""
    start = np.log(initial_fraction / (1 - initial_fraction))

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        params = flow.init(key, batch["z"], batch["z"][:, :0])
        return {"flow": params, "logit": jnp.asarray(start, jnp.float32)}, {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        log_signal = flow.apply(params["flow"], batch["z"], batch["z"][:, :0])
        total = jnp.logaddexp(
            jax.nn.log_sigmoid(params["logit"]) + log_signal,
            jax.nn.log_sigmoid(-params["logit"]) + batch["log_background"],
        )
        fraction = jax.nn.sigmoid(params["logit"])
        return weighted_mean(-total, batch["weight"]), ({"fraction": fraction}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Density of the sidebands, mass spectrum, then `members` signal densities a run."""
    data = weak.data_events(config, dataset)
    background = cathode.fit_background(config, data, bench)
    region = take(data, data["inside"])
    region["x"] = atoms.spread(config, background, region["x"], "signal density")
    joint = np.concatenate([region["x"], region["m"][:, None]], axis=1)
    scaler = scaling.fit_logit_scaler(joint, config.flow.eps)
    fitted = {
        "background": background,
        "mass": _spectrum(region["m"], dataset.info["window"], region.get("weight")),
        "scaler": {k: np.asarray(v) for k, v in scaler._asdict().items()},
    }
    rows = {
        "z": np.asarray(scaling.forward(scaler, joint)),
        "log_background": np.asarray(
            _log_background(config, fitted, region["x"], region["m"])
            - scaling.log_jacobian(scaler, joint)
        ),
        **weight_of(region),
    }
    everything = np.full(len(joint), -1)
    folds = np.asarray(weak.fold_of(region["raw"], config.classifier.folds))
    members = weak.member_rows(config, folds, everything, "signal density")
    settings = config.train.copy_and_resolve_references()
    settings.ensemble = len(members)
    result = bench.fit(
        task(_signal_flow(config, joint.shape[1]), config.method.initial_fraction),
        rows,
        rows,
        settings,
        config.seed,
        stage="signal density",
        train_index=np.stack([train for _, train, _ in members]),
        val_index=np.stack([val for *_, val in members]),
    )
    return fitted | {"fold": np.array([k for k, *_ in members]), "signal": result.params}


def _signal_flow(config: ConfigDict, n_features: int) -> RealNVP:
    """One of mass and features, without a condition."""
    settings = config.signal_flow.copy_and_resolve_references()
    with settings.unlocked():
        settings.mass_order = 0
    return density.network(settings, n_features)


def _spectrum(
    m: np.ndarray, window: Sequence[float], weight: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Smooth log density of m over the window: a quadratic, by Poisson regression of all bins.

    That is unbiased for sums of weights too.

    Raises:
        UserError: masses that do not fix it.
    """
    low, high = window
    counts, edges = np.histogram(m, MASS_BINS, (low, high), weights=weight)
    columns = basis(edges - low, Family("exponential", n_parameters=3))
    (parameters,), _ = regression.fit(columns, counts[None].astype(np.float64))
    if not np.isfinite(parameters).all():
        raise UserError(
            f"data: window: the {len(m)} masses of data in it do not fix their spectrum, a smooth "
            "function: widen it, or give more events"
        )
    points = (edges[:-1] - low) + np.diff(edges) * (1 + regression.NODES[:, None]) / 2
    shape = np.polyfit(points.ravel(), (columns @ parameters).ravel(), 2)
    grid = np.linspace(0, high - low, 1001)
    norm = np.log(np.trapezoid(np.exp(np.polyval(shape, grid)), grid))
    return {"shape": (shape - [0, 0, norm]).astype(np.float32), "low": np.float32(low)}


def _log_background(config: ConfigDict, fitted: dict, x: Array, m: Array) -> Array:
    mass = jnp.polyval(jnp.asarray(fitted["mass"]["shape"]), m - fitted["mass"]["low"])
    return density.log_prob(config, fitted["background"], x, m) + mass


def feature_scores(config: ConfigDict) -> Callable[..., dict[str, Array]]:
    """{"log_ratio": (runs, n)}: log p_S(x, m) - log p_B(x, m), p_S the mean over members (out of
    fold) and best epochs."""

    def function(fitted: dict, m: Array, x: Array, raw: Array) -> dict[str, Array]:
        x = atoms.centred(fitted["background"], x)
        joint = jnp.concatenate([x, m[:, None]], axis=-1)
        scaler = scaling.LogitScaler(**fitted["scaler"])
        z = scaling.forward(scaler, joint)
        flow = _signal_flow(config, joint.shape[-1])
        apply = jax.vmap(lambda params: flow.apply(params, z, z[:, :0]))
        log_signal = jax.lax.map(
            lambda params: density.log_mean(apply(params)), fitted["signal"]["flow"]
        )
        by_run = log_signal.reshape(config.classifier.runs, -1, len(z))
        usable = weak.usable(config, fitted["fold"], raw, by_run.shape)
        ratio = density.log_mean(by_run, usable, axis=1) + scaling.log_jacobian(scaler, joint)
        return {"log_ratio": ratio - _log_background(config, fitted, x, m)[None]}

    return function


scores = weak.from_features(feature_scores)
