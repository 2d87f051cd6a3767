"""Figures of merit of whatever callers give as arrays: any type of numbers, masks, text."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxad import metrics
from jaxad.errors import UserError
from jaxad.metrics import resonance, sculpting

WHOLE = np.random.default_rng(3).integers(0, 100, (2, 400)) + np.array([[0], [20]])


@pytest.mark.parametrize("kind", ["u1", "i2", ">i4", "f2", ">f8", "list", "jax"])
def test_scores_of_any_type_give_the_same_figures(kind):
    background, signal = (
        row.tolist() if kind == "list" else jnp.asarray(row) if kind == "jax" else row.astype(kind)
        for row in WHOLE
    )
    expected = metrics.summarise(*WHOLE.astype(float), fprs=(0.1,), n_bootstrap=5)
    found = metrics.summarise(background, signal, fprs=(0.1,), n_bootstrap=5)
    for key in ("auc", "auc_err", "max_sic", "auc_bootstrap_err"):
        assert found[key] == pytest.approx(expected[key], rel=1e-12)
    assert found["tpr_at_fpr"]["1e-1"]["value"] == expected["tpr_at_fpr"]["1e-1"]["value"]


def test_flags_are_scores_and_members_come_as_any_array():
    flags = WHOLE > 60
    assert metrics.auc(*flags) == metrics.auc(*flags.astype(float))
    pairs = metrics.members(jnp.asarray(WHOLE), WHOLE)
    assert len(pairs) == 2 and len(pairs[0][0]) == 400


MASKED = np.ma.masked_less(WHOLE[0].astype(float), 30)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.auc(MASKED, WHOLE[1]), r"background scores: found \d+ masked values"),
        (
            lambda: metrics.threshold_at_fpr(list("abc"), 0.1),
            "expected real numbers .* list of <U1",
        ),
        (lambda: metrics.auc(WHOLE[0].astype(complex), WHOLE[1]), "found complex128"),
        (lambda: metrics.auc([[1, 2], [3]], [1.0]), r"scores: expected .* different lengths"),
        (lambda: metrics.auc([None, 1.0], [1.0]), "found list of object"),
        (lambda: metrics.roc([], [1.0]), "expected a non-empty"),
        (lambda: metrics.band(np.ma.masked_less(WHOLE, 30)), r"band: found \d+ masked values"),
        (lambda: sculpting.mass_sculpting(MASKED, WHOLE[0]), r"mass: found \d+ masked values"),
        (lambda: sculpting.correlation(WHOLE[0], MASKED), r"observable: found \d+ masked values"),
        (
            lambda: sculpting.correlation(WHOLE[0], WHOLE[1, :5]),
            r"observable: expected shape \(400",
        ),
        (lambda: resonance.sideband_fit(MASKED, (3, 4)), r"mass: found \d+ masked values"),
        (lambda: resonance.sideband_fit([1, np.nan], (3, 4)), "mass: expected finite values"),
        (lambda: resonance.sideband_fit([], (3, 4)), "expected masses, found none"),
        (
            lambda: resonance.sideband_fits(WHOLE[0], WHOLE[1, :9], (3, 4)),
            r"mass: expected shape \(9,\) of the scores, found \(400,\)",
        ),
        (lambda: resonance.look_elsewhere(MASKED), r"scan: found \d+ masked values"),
        (lambda: resonance.look_elsewhere([]), "scan: expected significances, found none"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
