"""Boosted trees grown by JAX, beside scikit-learn's and among others."""

import jax
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from jaxad.methods.stages import boosting, histograms, trees
from jaxad.methods.stages.histograms import Rows

N, N_VAL, LEVELS = 4000, 1500, 30
SETTINGS = boosting.Settings(learning_rate=0.1, leaves=8, min_rows=60, trees=16, patience=5)


def rows_of(seed: int, apart: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features on few levels, whose bins any rule finds, classes and weights."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, LEVELS, (N + N_VAL, 3)).astype(np.float32)
    z = apart * (x[:, 0] + LEVELS * np.sin(x[:, 1] / 6) - x[:, 2]) / LEVELS
    y = rng.random(N + N_VAL) < 1 / (1 + np.exp(-z))
    return x, y.astype(np.float32), rng.exponential(1, N + N_VAL).astype(np.float32)


def fitted(*fits: tuple) -> list[dict]:
    """What rows of `rows_of` give, the last of them training ends; all fits are trained at once.

    Their shapes are filled up with rows that must not be seen.
    """
    filled = []
    for part, more in ((slice(N), 500), (slice(N, None), 70)):
        each = []
        for x, *others in fits:
            own = np.pad(x[part], ((0, more), (0, 0)), constant_values=3)
            others = [np.pad(a[part], (0, more), constant_values=1) for a in others]
            each.append((own, *others, np.int32(len(own) - more)))
        filled.append(Rows(*map(np.stack, zip(*each, strict=True))))
    found = jax.device_get(boosting.fit(SETTINGS, *filled))
    return [{name: of[i] for name, of in found.items()} for i in range(len(fits))]


def logits(found: dict, x: np.ndarray) -> np.ndarray:
    forest = {name: found[name][None] for name in (*trees.FIELDS, "base")}
    return np.asarray(trees.leaf_sums(forest | {"depth": found["depth"]}, x))[0]


def test_trees_are_those_of_scikit_learn():
    cases = [rows_of(0, 3.0), rows_of(1, 0.02)]
    each = fitted(*cases)
    for (x, y, w), found in zip(cases, each, strict=True):
        model = HistGradientBoostingClassifier(
            learning_rate=SETTINGS.learning_rate,
            max_leaf_nodes=SETTINGS.leaves,
            min_samples_leaf=SETTINGS.min_rows,
            max_iter=SETTINGS.trees,
            n_iter_no_change=SETTINGS.patience,
            early_stopping=True,
        ).fit(x[:N], y[:N], w[:N], X_val=x[N:], y_val=y[N:], sample_weight_val=w[N:])
        assert found["n"] == model.n_iter_
        for t, tree in enumerate(step[0].nodes for step in model._predictors):
            inner, own = ~tree["is_leaf"].astype(bool), found["left"][t] != np.arange(15)
            cuts = np.floor(tree["num_threshold"][inner]), np.floor(found["threshold"][t][own])
            wanted = zip(tree["feature_idx"][inner], cuts[0], strict=True)
            assert sorted(zip(found["feature"][t][own], cuts[1], strict=True)) == sorted(wanted)
        np.testing.assert_allclose(logits(found, x), model.decision_function(x), atol=1e-4)
        fall = model.validation_score_[0] - model.validation_score_
        np.testing.assert_allclose(found["losses"][: len(fall)], fall, atol=1e-6)
    assert each[0]["n"] == SETTINGS.trees  # the other has nothing to learn, and stops
    assert each[1]["n"] < SETTINGS.trees and not each[1]["value"][each[1]["n"] :].any()


def test_a_fit_is_the_same_in_any_company():
    cases = [rows_of(seed, apart) for seed, apart in ((1, 0.02), (2, 3.0), (3, 0.3))]
    first, second = fitted(*cases[:2]), fitted(*cases[::-2])
    for name, values in first[0].items():
        np.testing.assert_allclose(values, second[1][name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert first[0]["n"] != first[1]["n"]


def test_bins_of_spread_features_hold_equally_many_rows_and_a_spike_has_its_own():
    rng = np.random.default_rng(4)
    x, y, w = rows_of(5, 0.0)
    x = rng.lognormal(size=x.shape).astype(np.float32)
    x[:, 1] = np.where(x[:, 1] < 1, 0, x[:, 1])  # half of them
    y = (rng.random(len(y)) < np.where(x[:, 1] > 0, 0.6, 0.4)).astype(np.float32)
    rows = Rows(x[:N], y[:N], w[:N], np.int32(N))
    bins = np.asarray(histograms.binned(rows, histograms.edges_of(rows)))
    counts = [np.bincount(b, minlength=histograms.BINS) for b in bins]
    assert counts[0].min() > 13 and counts[0].max() < 18
    assert counts[1][0] == (x[:N, 1] == 0).sum()
    found = fitted((x, y, w), (x, y, w))[0]
    assert found["feature"][0, 0] == 1 and 0 <= found["threshold"][0, 0] < 1.05
    p = 1 / (1 + np.exp(-logits(found, x)))
    for of, expected in ((x[:, 1] == 0, 0.42), (x[:, 1] > 0, 0.58)):
        assert p[of].mean() == pytest.approx(expected, abs=0.03)


def test_a_program_for_an_accelerator_can_be_made_without_one():
    shaped = jax.ShapeDtypeStruct
    rows = Rows(*(shaped((4, N, *more), np.float32) for more in ((3,), (), ())), shaped((4,), int))
    lowered = boosting.fit.trace(SETTINGS, rows, rows).lower(lowering_platforms=("cuda",))
    assert "stablehlo.while" in lowered.as_text()


@pytest.mark.parametrize("n_features", [3, 100])
def test_memory_is_not_below_what_the_compiler_says(n_features):
    shaped = jax.ShapeDtypeStruct
    n = 40_000, 10_000
    train, val = (
        Rows(
            *(shaped((1, k, *more), np.float32) for more in ((n_features,), (), ())),
            shaped((1,), int),
        )
        for k in n
    )
    found = boosting.fit.lower(SETTINGS, train, val).compile().memory_analysis()
    taken = found.temp_size_in_bytes + found.argument_size_in_bytes
    assert 0.95 * taken < boosting.memory(*n, n_features) < 3 * taken
