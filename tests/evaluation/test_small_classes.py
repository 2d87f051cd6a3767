"""Classes of few test events are scored together, and each gets its own scores."""

import tracemalloc

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.layout import Layout
from jaxad.evaluation import general
from jaxad.scorer import Scorer
from jaxad.storage import on_disk

RNG = np.random.default_rng(0)


def pca(n_kept):
    return Scorer(
        method="pca",
        config=ConfigDict({"inputs": {"name": "features"}}),
        params={
            "mean": np.zeros(3),
            "components": np.eye(3)[:n_kept],
            "inputs": {"shift": np.zeros(3), "scale": np.ones(3)},
        },
        layout=Layout("features", (3,), columns=(("a", ""), ("b", ""), ("c", ""))),
    )


def test_each_class_gets_its_own_scores_whatever_shares_its_batch():
    sizes = {"QCD": 300, "a": 20, "b": 200, "c": 37, "d": 1}
    classes = {
        name: {"x": RNG.normal(size=(n, 3)).astype(np.float32), "mass": np.arange(n)}
        for name, n in sizes.items()
    }
    assert general._together(classes) == [["QCD"], ["a", "b"], ["c", "d"]]
    scorers = {"method": pca(2), "pca": pca(1)}
    table = general.scores_of(scorers, ["mass", "pca"], classes)
    outputs = general.outputs_of(scorers, classes)
    assert list(table) == list(classes)
    for name, rows in classes.items():
        own = table[name]
        assert list(own) == [*scorers["method"].names, "baseline mass", "baseline pca"]
        np.testing.assert_allclose(own["baseline pca"], scorers["pca"](rows["x"]), rtol=1e-6)
        np.testing.assert_array_equal(own["baseline mass"], rows["mass"])
        for score, values in scorers["method"].member_scores(rows["x"]).items():
            np.testing.assert_allclose(own[score], values, rtol=1e-6)
        for method, scorer in scorers.items():
            for key, values in scorer.outputs(rows["x"]).items():
                np.testing.assert_allclose(outputs[method][name][key], values, rtol=1e-6)


def test_the_mean_of_many_members_is_made_in_blocks_of_all(monkeypatch):
    members = RNG.normal(size=(64, 20_000)).astype(np.float32)
    monkeypatch.setattr(on_disk, "BLOCK_BYTES", members.nbytes // 20)
    tracemalloc.start()
    found = general.mean_of_members(members)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, np.mean(members, axis=0))
    assert peak < members.nbytes / 4
