"""The boosted trees that correct a template, grown by jaxad and by scikit-learn.

    python -m benchmarks.boosting lhco_cathode --seeds=5

Events of a source (`data.source` of configs/search.py) are told from events drawn anew from them,
two for each, whose features are multiplied by Gaussian numbers 1 +- 0.05: a density errs as little.
Both learn from the same rows, with the settings of `jaxad.methods.stages.correction`. Printed are
seconds of the processor, trees, and the loss of rows that neither has seen, below that of no tree.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from benchmarks import template
from jaxad.methods.stages import boosting, correction, trees
from jaxad.methods.stages.histograms import Rows

SMEARED = 0.05
SHARES = (0.525, 0.75)
"""Of the rows, up to which they train, and up to which they end the training; the rest tests."""


def rows_of(source: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with the mass (N, F + 1), classes and weights (N,), in random order."""
    rng = np.random.default_rng(seed)
    asked = template.asked_of(template.run_of(source, "default", 0, {}, Path()).config)
    data, mass = np.asarray(asked.table.x, np.float32), asked.table.mass
    of = rng.integers(0, len(data), 2 * len(data))
    draws = data[of] * rng.normal(1, SMEARED, (len(of), data.shape[1]))
    x = np.column_stack([np.concatenate([draws, data]), np.concatenate([mass[of], mass])])
    y = np.repeat([0.0, 1.0], [len(draws), len(data)])
    order = rng.permutation(len(y))
    weight = np.where(y == 1, 1.5, 0.75)
    return tuple(values[order].astype(np.float32) for values in (x, y, weight))


def by_jaxad(*parts: tuple) -> tuple[dict, int]:
    """Trees as `trees.leaf_sums` reads them, and their number."""
    rows = [Rows(*(a[None] for a in part), np.array([len(part[0])], np.int32)) for part in parts]
    found = jax.device_get(boosting.fit(correction.SLOW, *rows))
    forest = {name: found[name] for name in (*trees.FIELDS, "base")}
    return forest | {"depth": found["depth"][0]}, int(found["n"][0])


def by_scikit_learn(train: tuple, val: tuple) -> tuple[HistGradientBoostingClassifier, int]:
    """A model, and the number of its trees."""
    how = correction.SLOW
    model = HistGradientBoostingClassifier(
        learning_rate=how.learning_rate,
        max_leaf_nodes=how.leaves,
        min_samples_leaf=how.min_rows,
        max_iter=how.trees,
        n_iter_no_change=how.patience,
        early_stopping=True,
    )
    validation = dict(zip(("X_val", "y_val", "sample_weight_val"), val, strict=True))
    with threadpool_limits(1):
        return model.fit(*train, **validation), model.n_iter_


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    print("| seed | by | seconds of the processor | trees | loss below that of none |")
    print("|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        x, y, weight = rows_of(arguments.source, seed)
        edges = [round(share * len(y)) for share in SHARES]
        train, val, test = zip(*(np.split(a, edges) for a in (x, y, weight)), strict=True)
        if not seed:
            by_jaxad(train, val)  # compiles
        for name, fit in (("jaxad", by_jaxad), ("scikit-learn", by_scikit_learn)):
            start = time.process_time()
            model, number = fit(train, val)
            seconds = time.process_time() - start
            if name == "jaxad":
                logits = np.asarray(trees.leaf_sums(model, test[0]))[0]
            else:
                logits = model.decision_function(test[0])
            loss = log_loss(test[1], 1 / (1 + np.exp(-logits)), sample_weight=test[2])
            print(
                f"| {seed} | {name} | {seconds:.2f} | {number} | {np.log(2) - loss:.6f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
