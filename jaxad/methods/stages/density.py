"""The density stage of resonant methods: p(x | m) fitted to events, evaluated and sampled.

CATHODE (Hallin et al., arXiv:2109.00546) and ANODE (Nachman, Shih, arXiv:2001.04990). What networks
see of features and m is in `frame`; the fitted density is the mean over members and their epochs of
lowest validation loss, and each of these gives an equal share of the samples, which boosted trees
of the sidebands may correct.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.inputs import logit as scaling
from jaxad.methods import Bench
from jaxad.methods.stages import correction, frame
from jaxad.models.autoregressive import Autoregressive
from jaxad.models.flow import FlowMatching, RealNVP, log_prob_by_level
from jaxad.training import Fitted, Task, streams, weighted_mean
from jaxad.training.streams import Purpose

Flow = RealNVP | Autoregressive | FlowMatching

MIN_MASSES = 5
ROWS_PER_BATCH, MIN_ROWS_PER_BATCH = 16_384, 256


def get_config(**changes: Any) -> ConfigDict:
    """Settings of a density with their defaults."""
    return ConfigDict(
        {
            "name": "autoregressive",  # autoregressive | realnvp | matching
            "coupling": "spline",  # spline | affine, of autoregressive and realnvp
            "n_layers": 3,
            "n_bins": 8,
            "bound": 6.0,
            "hidden": (64, 64),
            "mass": "shifted",  # shifted | log | linear: how the condition enters, see `frame`
            "frame_order": 0,  # of polynomials of it, which mean and spread of features follow
            "mass_order": 0,  # of polynomials of it, of autoregressive; 0: the networks see it
            "n_steps": 20,  # of the integration, of matching
            "eps": 1e-6,  # distance kept from the edges before the logit
            "correction": 4,  # classifiers of sidebands against draws, whose weights correct these
        }
        | changes
    )


def network(config: ConfigDict, n_features: int) -> Flow:
    """The density `config.name` over `n_features` features."""
    hidden = tuple(config.hidden)
    match config.name:
        case "realnvp" | "autoregressive":
            maps = {key: config[key] for key in ("n_layers", "coupling", "n_bins", "bound")}
            if config.name == "realnvp":
                return RealNVP(n_features, hidden=hidden, **maps)
            return Autoregressive(n_features, hidden=hidden, order=frame.mass_order(config), **maps)
        case "matching":
            return FlowMatching(n_features=n_features, hidden=hidden, n_steps=config.n_steps)
        case other:
            raise UserError(
                f"flow.name: expected realnvp, autoregressive or matching, found {other!r}"
            )


def task(flow: Flow) -> Task:
    """Training on scaled features "x" (N, F) and condition "m" (N, C).

    The loss is the negative log-likelihood, or for flow matching the squared error of the field.
    """

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        return flow.init(key, batch["x"], batch["m"]), {}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        if isinstance(flow, FlowMatching):
            values = flow.apply(params, key, batch["x"], batch["m"], method=flow.residual)
        elif training and isinstance(flow, RealNVP) and jax.default_backend() != "cpu":
            values = -log_prob_by_level(flow, params, batch["x"], batch["m"])
        else:
            values = -flow.apply(params, batch["x"], batch["m"])
        return weighted_mean(values, batch["weight"]), ({}, state)

    return Task(init, loss, cpu_in_turn=True)


def fit(
    config: ConfigDict,
    train: dict[str, np.ndarray],
    val: dict[str, np.ndarray],
    bench: Bench,
    stage: str,
    members: int = 0,
    section: str = "flow_train",
    **rows_of_members: np.ndarray,
) -> dict:
    """Fit `config.flow` with `config[section]` to rows with "x" (N, F) and "m" (N,) of one unit.

    An optional "weight" (N,) of mean near 1 weighs them. The members of an ensemble take `turns`
    in which rows choose their epochs, so that together they learn from all of them.

    Args:
        members: densities trained at once on `train`, chosen by `val`; 0: an ensemble of
            `config[section].ensemble`.
        section: how to train.
        rows_of_members: `train_index` and `val_index` of `jaxad.training.fit`, where members see
            different rows. Scale and range are those of all of them.

    Returns:
        {"params": leading axes (members, best epochs), best epoch first} and its `frame`.
    """
    settings = config[section].copy_and_resolve_references()
    if not members and settings.ensemble > 1:
        every = np.arange(len(train["m"]) + len(val["m"]))
        index = turns(*np.split(every, [len(train["m"])]), settings.ensemble)
        rows_of_members = dict(zip(("train_index", "val_index"), index, strict=True))
        train = val = {k: np.concatenate([train[k], val[k]]) for k in train}
    settings.ensemble = members or settings.ensemble
    fitted = frame.fit(config.flow, train)
    for name, rows in (("train", train), ("val", val)):
        counts = scaling.clip_counts(scaling.LogitScaler(**fitted["scaler"]), rows["x"])
        print(f"{stage}: values clipped to the edges in {name}: {counts}")
    rows = [frame.seen(fitted, r) for r in (train, val)]
    flow = network(config.flow, train["x"].shape[1])
    result = bench.fit(task(flow), *rows, settings, config.seed, stage=stage, **rows_of_members)
    return fitted | {"params": best_first(result)}


def best_first(result: Fitted) -> Any:
    """Parameters (members, best epochs, ...) of a fit, the best epoch first."""
    order = np.arange(len(result.value))[:, None], np.argsort(result.value, axis=1)
    return jax.tree.map(lambda a: a[order], result.params)


def turns(train: np.ndarray, val: np.ndarray, members: int) -> list[np.ndarray]:
    """Rows that train each of an ensemble (members, n), and rows that choose its epochs.

    The first member has `train` (n,) and `val`; the validation rows of each further one begin
    1 / members of all rows later, in the round of `val` and `train`.
    """
    order = np.concatenate([val, train])
    rounds = [np.roll(order, -(i * len(order) // members)) for i in range(members)]
    return np.split(np.stack(rounds), [len(val)], axis=1)[::-1]


def _merged(params: Any) -> Any:
    """Parameters with members and best epochs in one leading axis."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), params)


def _length(params: Any) -> int:
    return len(jax.tree.leaves(params)[0])


def log_prob(config: ConfigDict, fitted: dict, x: Array, m: Array) -> Array:
    """log of the mean over members and best epochs of p(x | m), (N,), in units of the features."""
    flow = network(config.flow, x.shape[-1])
    z, c = frame.scaled(fitted, x, m), frame.condition(fitted, m)
    each = jax.lax.map(lambda params: flow.apply(params, z, c), _merged(fitted["params"]))
    return log_mean(each) + frame.log_jacobian(fitted, x, m)


def log_mean(logs: Array, usable: Array | None = None, axis: int = 0) -> Array:
    """log of the mean of exp(logs) along an axis, of the places that are `usable` (bool)."""
    if usable is None:
        return jax.nn.logsumexp(logs, axis=axis) - jnp.log(logs.shape[axis])
    total = jax.nn.logsumexp(jnp.where(usable, logs, -jnp.inf), axis=axis)
    return total - jnp.log(usable.sum(axis=axis))


def latent(config: ConfigDict, fitted: dict, x: Array, m: Array) -> Array:
    """Gaussian latent variables (N, F) of the first member's best epoch."""
    flow = network(config.flow, x.shape[-1])
    best = jax.tree.map(lambda a: a[0, 0], fitted["params"])
    z, c = frame.scaled(fitted, x, m), frame.condition(fitted, m)
    return flow.apply(best, z, c, method=flow.latent)


def sample(config: ConfigDict, fitted: dict, stage: str, m: np.ndarray) -> np.ndarray:
    """One draw of x (N, F) float32 for every m (N,) [TeV], always inside the range of the fit.

    The draws follow from the run's seed and `stage`, the name of what they are for. Members and
    best epochs have equal shares of the rows, at random: masses may be sorted, and any part of the
    draws holds all networks. Of a corrected density they are drawn until accepted.
    """
    m = np.asarray(m, np.float32)
    x = np.empty((len(m), len(fitted["scaler"]["low"])), np.float32)
    left = streams.generator(config.seed, Purpose.ROWS, stage).permutation(len(m))
    for attempt in itertools.count():
        drawn = _drawn(config, fitted, f"{stage}, attempt {attempt}" if attempt else stage, m[left])
        kept = np.ones(len(left), bool)
        if "correction" in fitted:
            u = streams.generator(config.seed, Purpose.FEATURES, stage, attempt).random(len(left))
            kept = correction.accepted(fitted["correction"], drawn, m[left], u)
        x[left[kept]] = drawn[kept]
        left = left[~kept]
        if not len(left):
            return x


def _drawn(config: ConfigDict, fitted: dict, stage: str, m: np.ndarray) -> np.ndarray:
    """A draw for every m (N,), of which members and best epochs have contiguous shares."""
    flow, merged = network(config.flow, len(fitted["scaler"]["low"])), _merged(fitted["params"])
    seen, parts = frame.of(fitted), []
    for i, share in enumerate(np.array_split(m, _length(merged))):
        for start in range(0, len(share), ROWS_PER_BATCH):
            parts.append((i, start, share[start : start + ROWS_PER_BATCH]))
    # Few shapes, for each is compiled.
    sizes = [max(MIN_ROWS_PER_BATCH, 1 << (len(rows) - 1).bit_length()) for *_, rows in parts]
    alone, drawn = jax.default_backend() == "cpu", [np.empty(0)] * len(parts)
    groups = [[n] for n in range(len(parts))] if alone else _alike(sizes, _length(merged))
    for group in groups:
        size = sizes[group[0]]
        rows = [np.pad(parts[n][2], (0, size - len(parts[n][2])), mode="edge") for n in group]
        which, start = np.array([parts[n][:2] for n in group], np.uint32).T
        params = jax.tree.map(lambda a, which=which: a[which], merged)
        keys = _keys(np.uint32(config.seed), np.uint32(streams.number_of(stage)), which, start)
        found = np.asarray(_draw(flow, seen, params, keys, np.stack(rows)))
        for n, x in zip(group, found, strict=True):
            drawn[n] = x[: len(parts[n][2])]
    return np.concatenate(drawn)


def _alike(sizes: Sequence[int], unit: int) -> list[list[int]]:
    """Numbers of equal ones, `unit` by repetition: what an accelerator draws at once."""
    groups = [[n for n, found in enumerate(sizes) if found == size] for size in sorted(set(sizes))]
    groups = [group + group[:1] * (-len(group) % unit) for group in groups]
    return [group[i : i + unit] for group in groups for i in range(0, len(group), unit)]


@jax.jit
def _keys(seed: Array, stage: Array, which: Array, start: Array) -> Array:
    """Keys (K,) of networks and first rows (K,)."""
    of_part = partial(streams.key, seed, Purpose.FEATURES, stage)
    return jax.vmap(of_part)(which, start)


@partial(jax.jit, static_argnames="flow")
def _draw(flow: Flow, seen: dict, params: Any, keys: Array, m: Array) -> Array:
    """Draws (K, n, F) of K densities, with leading axes in `params`, at masses (K, n)."""

    def one(params: Any, key: Array, m: Array) -> Array:
        z = flow.apply(params, key, frame.condition(seen, m), method=flow.sample)
        return frame.unscaled(seen, z, m)

    if len(m) > 1:
        return jax.vmap(one)(params, keys, m)
    return one(jax.tree.map(lambda a: a[0], params), keys[0], m[0])[None]


def sample_mass(
    m: np.ndarray,
    n: int,
    rng: np.random.Generator,
    bandwidth: float,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """`n` masses (n,) float32 [TeV] from a Gaussian kernel estimate of logit(m) of `m` (N,).

    The logit of the min-max scaled mass keeps the samples inside the window of `m`
    (arXiv:2109.00546, section III C). weight: (N,) of the masses.

    Raises:
        UserError: too few masses to know their spread.
    """
    if len(m) < MIN_MASSES:
        raise UserError(
            f"data: window: expected {MIN_MASSES} or more events of data in it, found {len(m)}"
        )
    scaler = scaling.fit_logit_scaler(m[:, None], eps=1e-6)
    logit = np.asarray(scaling.forward(scaler, jnp.asarray(m[:, None]))) * np.asarray(scaler.scale)
    share = None if weight is None else weight / weight.sum()
    drawn = rng.choice(logit, n, p=share) + rng.normal(0, bandwidth, (n, 1))
    return np.asarray(scaling.inverse(scaler, jnp.asarray(drawn / scaler.scale)))[:, 0]
