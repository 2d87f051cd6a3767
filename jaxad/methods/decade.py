"""DecADe (arXiv:2508.10224) in one scorer: a score, less the threshold that follows the event.

The section `teacher` says whose default score s it is, and is trained first. tau(observables) is
then the quantile 1 - `trigger.fpr` of s, by the boosted trees of `jaxad.metrics.decorrelated`, on
validation background, whose events train no network but choose its epochs. The score is s - tau,
and an event is accepted above 0; s itself stands beside it.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import methods
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout
from jaxad.data.trigger_rows import LAYOUT
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.methods import Bench
from jaxad.methods.stages import rows, trees
from jaxad.methods.stages.teacher import own_config
from jaxad.metrics.decorrelated import quantile_trees
from jaxad.observables.trigger import observables

KINDS = ("vector", "image", "set")
SECTIONS = {"teacher": ("method",), "trigger": ("observables", "fpr")}
"""Sections of the config that are read here, and what each has to hold."""


def columns(config: ConfigDict, x: Array) -> Array:
    """The observables (n, K) that the threshold follows, of events (n, 19, 3)."""
    found = observables(x)
    return jnp.stack([found[name] for name in config.trigger.observables], axis=1)


def require(config: ConfigDict, layout: Layout) -> None:
    """Refuses what this cannot follow, and events and observables that it does not know.

    Raises:
        UserError: no section `teacher` or `trigger`, or a teacher that is this method; events of
            another layout; no observables, or others.
    """
    for section, keys in SECTIONS.items():
        if not set(keys) <= set(config.get(section, {})):
            raise UserError(
                f"{section}: decade needs this section, with {' and '.join(keys)}: start from a "
                "shipped config of decade, or add it"
            )
    if own_config(config).method.name == config.method.name:
        raise UserError(
            "teacher.method.name: decade follows the score of another method: expected its name, "
            "found 'decade'"
        )
    if (layout.format, layout.shape) != (LAYOUT.format, LAYOUT.shape):
        raise UserError(
            f"method.name: decade takes trigger events, {LAYOUT.shape} of {LAYOUT.format!r}, found "
            f"{layout.shape} of {layout.format!r}"
        )
    known = observables(np.zeros((1, *LAYOUT.shape), np.float32))
    names = tuple(config.trigger.observables)
    if not names or not set(names) <= set(known):
        raise UserError(
            f"trigger.observables: expected some of {', '.join(known)}, found "
            f"{', '.join(names) or 'none'}"
        )


def plain(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], tuple[str, Array]]:
    """Pure function (fitted, x) -> name and values (n,) of the score whose threshold follows."""
    own = own_config(config)
    scores_of = methods.get(own.method.name).scores(own, layout)

    def function(fitted: dict, x: Array) -> tuple[str, Array]:
        name, values = next(iter(scores_of(fitted["teacher"], x).items()))
        return name, values if values.ndim == 1 else jnp.mean(values, axis=0)

    return function


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """{"teacher"}: of the method that is followed; {"tau"}: trees, of four members.

    The trees are those of the scores as scorers give them, and of the events' weights.

    Raises:
        UserError: sections, events, observables; too few validation events above the quantile.
    """
    require(config, dataset.layout)
    own = own_config(config)
    fitted = {"teacher": methods.get(own.method.name).fit(own, dataset, bench)}
    x, weight = dataset.val["x"], dataset.val.get("weight")
    scores = bench.scorer(own.method.name, own, fitted["teacher"], dataset.layout)(x)
    followed = in_batches(lambda part: columns(config, part), x, "observables")
    models = quantile_trees(scores, followed, config.trigger.fpr, config.seed, weight)
    seen = np.ones((len(models), followed.shape[1]), bool)
    tau = trees.as_arrays(models, seen)
    if not tau["depth"]:
        rows.tell(f"decade: {len(x)} validation events split nowhere: the threshold is constant")
    return fitted | {"tau": tau}


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"decade": (n,), the followed score's own name: (n,)}: s - tau(observables), and s."""
    require(config, layout)
    score = plain(config, layout)

    def function(fitted: dict, x: Array) -> dict[str, Array]:
        name, values = score(fitted, x)
        tau = jnp.mean(trees.leaf_sums(fitted["tau"], columns(config, x)), axis=0)
        return {"decade": values - tau, name: values}

    return function
