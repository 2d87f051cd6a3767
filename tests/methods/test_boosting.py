"""Boosted trees grown by JAX, beside scikit-learn's and among others."""

import jax
import numpy as np
import pytest
import sklearn
from packaging.version import Version
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper

from jaxad.methods.stages import boosting, histograms, trees
from jaxad.methods.stages.histograms import Rows

N, N_VAL, LEVELS = 4000, 1500, 30
SETTINGS = boosting.Settings(learning_rate=0.1, leaves=8, min_rows=60, trees=16, patience=5)
as_of_today = pytest.mark.skipif(
    Version(sklearn.__version__) < Version("1.9"),
    reason="bins of scikit-learn before 1.9 do not count weights",
)


def rows_of(seed: int, apart: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with a spike, without, and on few levels; classes and weights."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, LEVELS, (N + N_VAL, 3)).astype(np.float32)
    x[:, 0] = np.maximum(x[:, 0], LEVELS / 5)
    x[:, 2] = np.round(x[:, 2])
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


def splits(nodes: dict, tree: int) -> list[tuple]:
    """Feature and threshold of every split."""
    inner = nodes["left"][tree] != np.arange(nodes["left"].shape[1])
    return sorted(zip(*(nodes[k][tree][inner] for k in ("feature", "threshold")), strict=True))


@as_of_today
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
        wanted = trees.as_arrays([model], np.ones((1, 3), bool))
        for t in range(found["n"]):
            assert splits(found, t) == splits({k: wanted[k][0] for k in trees.FIELDS}, t)
        np.testing.assert_allclose(logits(found, x), model.decision_function(x), atol=1e-4)
        fall = model.validation_score_[0] - model.validation_score_
        np.testing.assert_allclose(found["losses"][: len(fall)], fall, atol=2e-8)
    assert each[0]["n"] == SETTINGS.trees  # the other has nothing to learn, and stops
    assert each[1]["n"] < SETTINGS.trees and not each[1]["value"][each[1]["n"] :].any()


def test_a_fit_is_the_same_in_any_company():
    cases = [rows_of(seed, apart) for seed, apart in ((1, 0.02), (2, 3.0), (3, 0.3))]
    first, second = fitted(*cases[:2]), fitted(*cases[::-2])
    for name, values in first[0].items():
        np.testing.assert_allclose(values, second[1][name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert first[0]["n"] != first[1]["n"]


@as_of_today
@pytest.mark.parametrize("n", [1, 2, 255, 510, 1001])
def test_bins_are_those_of_scikit_learn(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=n).astype(np.float32)
    spikes = np.where(x < 0, 0, x), np.where(x < 0.5, -0.0, np.maximum(x, 0.6))
    levels = np.round(20 * x), np.round(300 * x), rng.integers(0, 255, n), rng.integers(0, 256, n)
    hidden = np.where(rng.random(n) < 0.3, np.quantile(x, 0.5), x)
    each = x, 1e30 * x, np.exp(9 * x), *spikes, *levels, hidden, np.full(n, 3)
    x = np.column_stack(each).astype(np.float32)
    weights = {
        "none": None,
        "ones": np.ones(n),
        "two": rng.choice([1.5, 0.75], n),
        "any": rng.exponential(size=n),
        "often none": np.append(1, rng.integers(0, 2, n - 1)),
    }
    for name, w in weights.items():
        w = w if w is None else w.astype(np.float32)
        filled = np.ones(n) if w is None else w
        rows = [np.pad(a, [(0, 9)] + [(0, 0)] * (a.ndim - 1), mode="edge") for a in (x, filled)]
        found = histograms.edges_of(Rows(rows[0], None, rows[1], np.int32(n)))
        mapper = _BinMapper(n_bins=histograms.BINS + 1).fit(x.astype(float), sample_weight=w)
        for own, wanted in zip(found, mapper.bin_thresholds_, strict=True):
            near = np.asarray(wanted).astype(np.float32)
            below = np.where(near > wanted, np.nextafter(near, np.float32(-np.inf)), near)
            filled_up = np.pad(below, (0, len(own) - len(below)), constant_values=np.inf)
            np.testing.assert_array_equal(own, filled_up, err_msg=name)


def test_a_program_for_an_accelerator_can_be_made_without_one():
    shaped = jax.ShapeDtypeStruct
    rows = Rows(*(shaped((4, N, *more), np.float32) for more in ((3,), (), ())), shaped((4,), int))
    edges = shaped((4, 3, histograms.BINS - 1), np.float32)
    lowered = boosting.grown.trace(SETTINGS, rows, rows, edges).lower(lowering_platforms=("cuda",))
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
    edges = shaped((1, n_features, histograms.BINS - 1), np.float32)
    found = boosting.grown.lower(SETTINGS, train, val, edges).compile().memory_analysis()
    taken = found.temp_size_in_bytes + found.argument_size_in_bytes
    assert 0.95 * taken < boosting.memory(*n, n_features) < 3 * taken
