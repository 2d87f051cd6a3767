"""What a mimicker is judged by: how it orders jets beside its teacher, observable by observable.

After Bradshaw, Chang, Ostdiek (arXiv:2203.01343, section IV): the average decision ordering with
the teacher and the AUC of every signal after each pass of the selection, and the chosen graphs.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad import methods
from jaxad.data.dataset import Rows
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.methods.stages import mimicker
from jaxad.methods.stages.teacher import own_config
from jaxad.metrics import Weights, auc_with_error
from jaxad.observables.graphs import formula
from jaxad.observables.ordering import ado_with_error, decision_ordering
from jaxad.scorer import Scorer, load

N_EVENTS = 10_000  # test jets of a class, all pairs of which are ordered
N_BOOTSTRAP = 100

Scores = dict[str, np.ndarray]  # class -> (passes, members, n); the background first


def teacher(scorer: Scorer) -> Scorer:
    """The scorer that a run learnt from: the run that its config names, or a mimicker's own.

    Raises:
        UserError: none is named, and none kept.
    """
    if path := scorer.config.method.get("teacher"):
        return load(path)
    if "teacher" not in scorer.params:
        raise UserError(
            f"baselines: teacher: {scorer.method} keeps none: name a run in method.teacher"
        )
    own = own_config(scorer.config)
    return Scorer("autoencoder", own, scorer.params["teacher"], scorer.layout)


def pass_scores(scorer: Scorer, classes: dict[str, Rows]) -> Scores:
    """Scores of every class by the networks of all passes, (passes, members, n)."""

    stage = methods.stage(scorer.method, scorer.config, scorer.layout)

    def function(x: Array) -> Array:
        scores = mimicker.pass_scores(scorer.params, stage.values(x))
        return jnp.moveaxis(jnp.stack(scores), -1, 0)

    return {
        name: np.moveaxis(in_batches(function, rows["x"], f"passes of {name}", 1024), 0, -1)
        for name, rows in classes.items()
    }


def _auc(background: np.ndarray, signal: np.ndarray, weights: Weights) -> dict[str, Any]:
    """Median over members (members, n), the first one's statistical error, and all."""
    found = [auc_with_error(b, s, weights) for b, s in zip(background, signal, strict=True)]
    values = [value for value, _ in found]
    return {"auc": float(np.median(values)), "auc_err": found[0][1], "auc_members": values}


def _formula(observable: mimicker.Observable | None) -> str:
    if observable is None:
        return "m, p_T"
    number = observable.name.removeprefix("tau_")
    return formula(observable.edges) if observable.edges else rf"\tau_{number}"


def selection(
    scorer: Scorer, found: Scores, taught: dict[str, np.ndarray], weights: Mapping[str, Weights]
) -> list[dict[str, Any]]:
    """One entry a pass: the observable that joined, ADO on background, AUC of every signal.

    Args:
        found: of `pass_scores`.
        taught: the teacher's scores (n,) of the same classes.
        weights: of the events of the background and of each signal.
    """
    name, *signals = found
    shown, truth = found[name][..., :N_EVENTS], taught[name][:N_EVENTS]
    members = shown.shape[1]
    orderings = decision_ordering(truth, shown.reshape(-1, shown.shape[-1]).T).reshape(-1, members)
    entries = []
    for k, observable in enumerate([None, *mimicker.chosen(scorer.params)]):
        _, error = ado_with_error(truth, shown[k, 0], N_BOOTSTRAP)
        entries.append(
            {
                "k": k,
                "observable": observable.name if observable else "mass, pt",
                "edges": observable.edges if observable else (),
                "formula": _formula(observable),
                "ado": float(np.median(orderings[k])),
                "ado_err": error,
                "ado_members": orderings[k].tolist(),
                "signals": {s: _auc(found[name][k], found[s][k], weights[s]) for s in signals},
            }
        )
    return entries


def measure(
    scorer: Scorer, taught: dict[str, np.ndarray], classes: dict[str, Rows]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The numbers of a mimicker, JSON-able, and its scores (members, n) of every class.

    Args:
        taught: the teacher's scores (n,) of every class.
        classes: test rows, the background first.
    """
    found = pass_scores(scorer, classes)
    background, *signals = classes
    weights = {s: tuple(classes[c].get("weight") for c in (background, s)) for s in signals}
    last = {name: scores[-1] for name, scores in found.items()}
    numbers = {
        "selection": selection(scorer, found, taught, weights),
        "teacher": {
            s: _auc(taught[background][None], taught[s][None], weights[s]) for s in signals
        },
        "ordering": {
            name: float(decision_ordering(taught[name][:N_EVENTS], scores[:1, :N_EVENTS].T)[0])
            for name, scores in last.items()
        },
    }
    return numbers, last
