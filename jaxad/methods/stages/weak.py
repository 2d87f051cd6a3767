"""The classifier stage of resonant methods: data of the signal region against background.

An ensemble of classifiers is trained without truth labels (Metodiev, Nachman, Thaler,
arXiv:1708.02949; Hallin et al., arXiv:2109.00546): every member has its own split and seed, all
train at once, and the score is the mean probability. With folds, an event is only ever scored by
members that did not see it: its fold is a hash of its raw values, so nothing has to be kept.
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

from jaxad import inputs, training
from jaxad.data.dataset import Dataset, Rows
from jaxad.data.layout import Layout
from jaxad.data.window import in_window
from jaxad.errors import UserError
from jaxad.inputs import Stage
from jaxad.inputs.features import require_varied
from jaxad.methods import Bench
from jaxad.methods.stages import bagging, trees
from jaxad.methods.stages.density import MIN_MASSES
from jaxad.methods.stages.rows import weight_of
from jaxad.models.dense import Classifier
from jaxad.training import Task, streams, weighted_mean
from jaxad.training.streams import Purpose

KINDS = ("vector",)
VAL_FRACTION = 0.25
NEVER_HELD_OUT = -1


FeatureScores = Callable[[ConfigDict], Callable[[dict, Array, Array, Array], dict[str, Array]]]


def get_config(**changes: Any) -> ConfigDict:
    """Settings of the classifier stage with their defaults."""
    return ConfigDict(
        {
            "name": "network",  # network | trees
            "hidden": (64, 64, 64),
            "members": 10,  # classifiers an ensemble
            "runs": 1,  # independent ensembles, for the spread of the result
            "folds": 0,  # k: no event is scored by members that saw it
            "max_iter": 200,  # of trees
            "feature_fraction": 1.0,  # of the features, that each member sees
        }
        | changes
    )


def train_config(**changes: Any) -> ConfigDict:
    """Settings of the training of networks with their defaults."""
    return training.get_config(
        **{"epochs": 100, "batch_size": 128, "early_stop_patience": 10, "keep_best": 10} | changes
    )


def events(config: ConfigDict, dataset: Dataset, rows: Rows) -> Rows:
    """Rows with "m" (N,) [TeV], features "x" (N, F), "raw", "label" and "inside" (N,) bool.

    And the "weight" (N,) of events that have any.
    """
    stage, raw = vectors(config, dataset.layout), jnp.asarray(rows["x"])
    return {
        "m": np.asarray(stage.mass(raw), np.float32),
        "x": np.asarray(stage.values(raw), np.float32),
        "raw": rows["x"],
        "label": rows["label"],
        "inside": in_window(rows, dataset.info["window"]),
        **weight_of(rows),
    }


def vectors(config: ConfigDict, layout: Layout) -> Stage:
    """Features with a mass, as they are: densities and classifiers scale their own.

    The mass itself is none of them.
    """
    stage = inputs.stage(config.inputs, layout, KINDS, config.method.name)
    names = [name for name, _ in stage.names]
    if "mass" not in names:
        return stage
    kept = np.delete(np.arange(len(names)), names.index("mass"))
    return dataclasses.replace(
        stage,
        values=lambda raw: stage.values(raw)[:, kept],
        names=tuple(stage.names[i] for i in kept),
    )


def data_events(config: ConfigDict, dataset: Dataset) -> Rows:
    """All data events, training part first; "part" is 0 for training, 1 for validation.

    Raises:
        UserError: fewer than `density.MIN_MASSES` of them lie in the window.
    """
    parts = [events(config, dataset, rows) for rows in (dataset.train, dataset.val)]
    joined = {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
    n_inside = int(joined["inside"].sum())
    if n_inside < MIN_MASSES:
        raise UserError(
            f"data: window: expected {MIN_MASSES} or more events of data in it, found {n_inside}"
        )
    part = np.repeat([0, 1], [len(p["m"]) for p in parts])
    return joined | {"part": part}


@partial(jax.jit, static_argnames="folds")
def fold_of(raw: Array, folds: int) -> Array:
    """Fold (N,) in 0 ... folds - 1 of raw events (N, ...) float32: a hash of their bits.

    The zeros that pad particles (N, n, C) do not count.
    """
    bits = jax.lax.bitcast_convert_type(jnp.asarray(raw, jnp.float32), jnp.uint32)
    value = jnp.full(bits.shape[:1], 2166136261, jnp.uint32)

    def mixed(value: Array, column: Array) -> Array:
        value = (value ^ column) * jnp.uint32(16777619)
        return value ^ (value >> 15)

    if bits.ndim == 2:
        for column in range(bits.shape[-1]):
            value = mixed(value, bits[:, column])
    else:
        columns = bits.reshape(len(bits), -1).T
        value = jax.lax.fori_loop(
            0,
            columns.shape[0],
            lambda i, v: jnp.where(columns[i] == 0, v, mixed(v, columns[i])),
            value,
        )
    return jax.lax.rem(value, jnp.uint32(max(folds, 1))).astype(jnp.int32)


def balanced(
    group: np.ndarray, shares: dict[int, float], weight: np.ndarray | None = None
) -> np.ndarray:
    """Weights (N,) float32 of mean 1 that give every `group` (N,) its share of the total.

    Within a group in proportion to `weight` (N,), where that is given.
    """
    found = np.zeros(len(group), np.float32)
    for name, share in shares.items():
        chosen = group == name
        if weight is None:
            found[chosen] = share * len(group) / max(chosen.sum(), 1)
        else:
            own = weight[chosen].astype(np.float64)
            found[chosen] = share * len(group) * own / max(own.sum(), 1e-30)
    return found / sum(shares.values())


def of_events(*parts: Rows) -> np.ndarray | None:
    """Weights of the events of all parts, 1 in parts without; None where no part has any."""
    if not any("weight" in rows for rows in parts):
        return None
    return np.concatenate([rows.get("weight", np.ones(len(rows["x"]))) for rows in parts])


def task(network: Classifier, fraction: float = 1.0) -> Task:
    """Weighted binary cross-entropy on rows "x" (N, F), "y" (N,) and "weight" (N,).

    Below a `fraction` of 1 the state holds the "mask" (F,) of the features that a member sees.
    """

    def init(key: Array, batch: dict) -> tuple[Any, dict]:
        params = network.init(key, batch["x"])
        if fraction == 1:
            return params, {}
        mask = bagging.member_mask(key, batch["x"].shape[1], fraction)
        return params, {"mask": mask.astype(jnp.float32)}

    def loss(params: Any, state: dict, batch: dict, key: Array, training: bool) -> tuple:
        import optax

        x = batch["x"] * state["mask"] if state else batch["x"]
        logits = network.apply(params, x)
        values = optax.sigmoid_binary_cross_entropy(logits, batch["y"])
        return weighted_mean(values, batch["weight"]), ({}, state)

    return Task(init, loss)


def member_rows(config: ConfigDict, fold: np.ndarray, run: np.ndarray, stage: str) -> list:
    """(fold, training rows, validation rows) of every member.

    Args:
        fold: (N,) fold of each row, `NEVER_HELD_OUT` for rows that are never scored.
        run: (N,) the run a row is for, -1 for all.
        stage: name of the fit.

    A member sees the rows of its run outside its fold, split at random 3 to 1; all members get
    equally many, so that they train at once.
    """
    settings, members = config.classifier, []
    for r in range(settings.runs):
        for k in range(max(settings.folds, 1)):
            allowed = (run == r) | (run == -1)
            if settings.folds:
                allowed &= fold != k
            for i in range(settings.members):
                rng = streams.generator(config.seed, Purpose.ROWS, stage, r, k, i)
                members.append((k, rng.permutation(np.flatnonzero(allowed))))
    n = min(len(rows) for _, rows in members)
    n_val = round(VAL_FRACTION * n)
    return [(k, rows[n_val:n], rows[:n_val]) for k, rows in members]


def fit(
    config: ConfigDict,
    bench: Bench,
    data: Rows,
    background: Rows,
    weight: np.ndarray | None = None,
    stage: str = "classifier",
) -> dict:
    """Fit classifiers of `data` (1) against `background` (0), both with "x" (N, F) and "raw".

    Args:
        data, background: rows; "raw" (N, C), where there, gives the fold; "run" (N,), where
            there, keeps rows to one run.
        weight: (N_data + N_background,) weights of the rows; None balances the classes.

    Returns:
        {"shift", "scale": (F,) standardisation by the data; "fold": (members,); "params" or
        "trees"}, members ordered by run, fold and number; with `classifier.feature_fraction` below
        1 also "mask" (members, F) bool, the features that each sees. What the others are changes no
        score: their weights are 0.
    """
    shift, scale = data["x"].mean(axis=0), data["x"].std(axis=0)
    require_varied(shift, scale)
    x = np.concatenate([(r["x"] - shift) / scale for r in (data, background)]).astype(np.float32)
    y = np.repeat([1.0, 0.0], [len(data["x"]), len(background["x"])]).astype(np.float32)
    fold = np.concatenate([_fold(config, rows) for rows in (data, background)])
    run = np.concatenate(
        [rows.get("run", np.full(len(rows["x"]), -1)) for rows in (data, background)]
    )
    if weight is None:
        weight = balanced(y.astype(int), {0: 0.5, 1: 0.5}, of_events(data, background))
    # A member sees one run's share of the rows that are kept to a run.
    weight = weight * np.where(run == -1, 1, config.classifier.runs).astype(np.float32)
    members = member_rows(config, fold, run, stage)
    fitted = {"shift": shift, "scale": scale, "fold": np.array([k for k, *_ in members])}
    fraction, seen = config.classifier.feature_fraction, None
    if fraction < 1:
        seen = bagging.masks(config.seed, stage, len(members), x.shape[1], fraction)
        fitted["mask"] = seen
    if config.classifier.name == "trees":
        indices = [np.concatenate(rows) for _, *rows in members]
        max_iter = config.classifier.max_iter
        fitted["trees"] = trees.fit(x, y, weight, indices, config.seed, max_iter, seen)
        return fitted
    if config.classifier.name != "network":
        raise UserError(
            f"classifier.name: expected network or trees, found {config.classifier.name!r}"
        )
    rows = {"x": x, "y": y, "weight": weight}
    settings = config.train.copy_and_resolve_references()
    settings.ensemble = len(members)
    result = bench.fit(
        task(_network(config), fraction),
        rows,
        rows,
        settings,
        config.seed,
        stage=stage,
        train_index=np.stack([train for _, train, _ in members]),
        val_index=np.stack([val for *_, val in members]),
    )
    params = result.params if seen is None else bagging.without_unseen(result.params, seen)
    return fitted | {"params": params}


def _network(config: ConfigDict) -> Classifier:
    return Classifier(hidden=tuple(config.classifier.hidden))


def _fold(config: ConfigDict, rows: Rows) -> np.ndarray:
    if "raw" not in rows:
        return np.full(len(rows["x"]), NEVER_HELD_OUT)
    return np.asarray(fold_of(rows["raw"], config.classifier.folds))


def score(config: ConfigDict, fitted: dict, x: Array, raw: Array) -> Array:
    """Probability of "data" (runs, N): mean over the members (out of fold) and best epochs."""
    z = (x - fitted["shift"]) / fitted["scale"]
    if "trees" in fitted:
        probability = jax.nn.sigmoid(trees.leaf_sums(fitted["trees"], z))
    else:
        network = _network(config)
        apply = jax.vmap(lambda params: jax.nn.sigmoid(network.apply(params, z)))
        probability = jax.lax.map(lambda params: apply(params).mean(axis=0), fitted["params"])
    by_run = probability.reshape(config.classifier.runs, -1, len(x))
    allowed = usable(config, fitted["fold"], raw, by_run.shape)
    return jnp.where(allowed, by_run, 0.0).sum(axis=1) / allowed.sum(axis=1)


def usable(config: ConfigDict, fold: Array, raw: Array, shape: tuple[int, int, int]) -> Array:
    """Which members may score which events, bool of `shape` (runs, members of a run, N).

    Those that did not see them; all, without folds. fold: (members,) that each member left out.
    """
    if not config.classifier.folds:
        return jnp.ones(shape, bool)
    return (fold[:, None] == fold_of(raw, config.classifier.folds)).reshape(shape)


def from_features(one: FeatureScores) -> Callable[[ConfigDict, Layout], Callable]:
    """The method's `scores` from its scores of masses and features.

    Args:
        one: config -> pure (fitted, m (n,) [TeV], x (n, F), raw) -> {score: (runs, n)}.
    """

    def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
        stage, function = vectors(config, layout), one(config)

        def of_raw(fitted: dict, raw: Array) -> dict[str, Array]:
            return function(fitted, stage.mass(raw), stage.values(raw), raw)

        return of_raw

    return scores
