"""Trivial scores beside a method: which there are, what they say, and when one beats it."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from random_jets import random_jets

from jaxad.configs import toptagging_ae
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.data.particles import JET_BASELINES, jet_observables
from jaxad.errors import UserError
from jaxad.evaluation import general, references
from jaxad.methods import mean_image
from jaxad.observables.shapes import SHAPES, girth
from jaxad.report.tables import metrics_notes
from jaxad.scorer import Scorer

ALL = [*JET_BASELINES, *(f"|{name} - median|" for name in JET_BASELINES)]


def rows(seed, n, spread):
    x = random_jets(seed, n, 15, spread=spread)
    return {"x": x, **jet_observables(x)}


@pytest.fixture(scope="module")
def jets():
    parts = (rows(seed, 80, 0.1) for seed in range(3))
    layout = Layout("ptetaphi", (15, 3))
    return Dataset(*parts, {"s": rows(3, 60, 0.2)}, layout, baselines=JET_BASELINES)


def names(jets, *baselines):
    return references.names_of(ConfigDict({"baselines": baselines}), jets)


def test_observables_of_jets_are_one_and_two_sided(jets):
    assert names(jets, "pca", "observables") == ["pca", *ALL]
    assert names(jets, "girth", "|girth - median|") == ["girth", "|girth - median|"]


def test_a_number_of_other_events_has_the_side_of_its_reader(jets):
    other = Dataset(
        jets.train, jets.val, jets.test, {}, jets.layout, baselines=("multiplicity", "pt")
    )
    assert names(other, "observables") == ["multiplicity", "pt"]


def test_unknown_ones_are_refused(jets):
    with pytest.raises(UserError, match=r"'girt' is neither .* which are girth, mass, multi"):
        names(jets, "girt")


def test_two_sided_scores_are_distances_from_the_training_median(jets):
    classes = general.classes_of(jets, ALL)
    medians = references.medians(jets, ALL)
    assert list(medians) == sorted(JET_BASELINES)
    assert medians["mass"] == pytest.approx(np.median(jets.train["mass"]))
    assert medians["girth"] == pytest.approx(np.median(girth(jets.train["x"])))
    config = toptagging_ae.get_config("smoke")
    fitted = mean_image.fit(config, jets, None)
    scorers = {"method": Scorer("mean_image", config, fitted, jets.layout)}
    table = general.scores_of(scorers, ALL, classes, medians)
    for name, own in (("background", jets.test), ("s", jets.signals["s"])):
        for shape, function in SHAPES.items():
            values = np.asarray(function(own["x"]))
            np.testing.assert_allclose(table[name][f"baseline {shape}"], values, rtol=1e-5)
            expected = np.abs(values - medians[shape])
            two = table[name][f"baseline |{shape} - median|"]
            np.testing.assert_allclose(two, expected, rtol=1e-4, atol=1e-6)
        two = table[name]["baseline |mass - median|"]
        np.testing.assert_allclose(two, np.abs(own["mass"] - medians["mass"]), rtol=1e-5)


def entry(auc, error=0.01):
    return {"auc": auc, "auc_err": error}


def metrics(own, **baselines):
    signal = {"scores": {"mse": own, "other": entry(0.99)}, "baselines": baselines}
    return {"signals": {"t": signal}}


def test_a_detector_that_baselines_beat_says_so():
    """Trained ones as well as observables, the best first."""
    found = metrics(entry(0.8), girth=entry(0.9), mass=entry(0.5), pca_16=entry(0.95))
    found |= references.beaten(found)
    assert found["beaten"]["t"]["by"] == {"pca_16": entry(0.95), "girth": entry(0.9)}
    assert metrics_notes(found)[-1] == (
        "t: mse, AUC 0.800 ± 0.010, is beaten by pca_16 0.950 ± 0.010, girth 0.900 ± 0.010"
    )


def test_metrics_of_an_earlier_version_are_still_shown():
    old = {"observable": "girth", **entry(0.9), "score": "mse", "score_auc": 0.8}
    found = metrics(entry(0.8), girth=entry(0.9)) | {"beaten": {"t": old}}
    assert metrics_notes(found)[-1] == (
        "t: mse is beaten by girth, as an earlier version found: evaluate again for all of them"
    )


@pytest.mark.parametrize(
    ("own", "girth_entry"),
    [
        (entry(0.80), entry(0.81)),  # within the errors, 0.014
        (entry(0.80), entry(0.1)),
        (entry(None, None), entry(0.9)),
        (entry(0.80), entry(None, None)),
    ],
)
def test_it_is_silent_where_none_does(own, girth_entry):
    assert references.beaten(metrics(own, girth=girth_entry)) == {"beaten": {}}


def test_a_method_without_baselines_is_beaten_by_none():
    assert references.beaten({"signals": {"t": {"scores": {"mse": entry(0.5)}}}}) == {"beaten": {}}
