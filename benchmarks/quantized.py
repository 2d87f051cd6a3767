"""How few bits a trigger's encoder takes: rounding, fine-tuning and learnt widths, side by side.

    PYTHONPATH=. python benchmarks/quantized.py [--seeds 3] [--cache FOLDER]

The float encoder of configs/adc2021_quantized.py is trained once a seed, and every way starts from
it. 6,000 simulated background events, 3,000 train, 600 choose epochs and calibrate, 2,400 test.
Printed are medians over seeds of EBOPs, drift and overlap of the highest 1 % with the float
network's score, and of the four signals the largest |mean over seeds of the difference of TPR| at
FPR 1e-2. The control trains on with so many bits that they hardly matter.
"""

import argparse
import contextlib
import io
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxad import data, methods
from jaxad.commands.train import bench
from jaxad.configs import adc2021_quantized
from jaxad.data.dataset import Dataset
from jaxad.methods import quantized
from jaxad.methods.stages.teacher import teach
from jaxad.metrics import tpr_at_fpr
from jaxad.metrics.agreement import drift, overlap
from jaxad.training import fit

LEARNED = {"learned": True, "granularity": "weight"}
WIDE = dict.fromkeys(("weight_bits", "activation_bits", "code_bits"), 12)
WAYS = {
    **{f"{n} bits, rounding": {"weight_bits": n, "target": "none"} for n in (8, 6, 4, 3, 2)},
    **{f"{n} bits, codes": {"weight_bits": n} for n in (8, 6, 4, 3, 2)},
    "6 bits, loss": {"target": "loss"},
    "control: 12 bits, loss": {"target": "loss", **WIDE},
    **{f"learnt, beta {beta:g}": {**LEARNED, "beta": beta} for beta in (1e-6, 3e-6, 1e-5, 3e-5)},
}


def configured(seed: int, cache: str, **changes: Any) -> ConfigDict:
    """The shipped config with a larger test sample."""
    config = adc2021_quantized.get_config()
    config.seed = seed
    config.data.update({"cache": cache, "val_fraction": 0.1, "test_fraction": 0.4})
    config.method.update(changes)
    return config


def scores_of(score: Any, dataset: Dataset) -> dict[str, np.ndarray]:
    """Class -> scores (n,) of test events."""
    score = jax.jit(score)
    parts = {"background": dataset.test, **dataset.signals}
    return {name: np.asarray(score(rows["x"])) for name, rows in parts.items()}


def compared(found: dict, reference: dict) -> tuple[float, float, list[float]]:
    """Drift, overlap and the differences of TPR at FPR 1e-2."""
    rates = [
        [tpr_at_fpr(scores["background"], scores[name], 1e-2)["value"] for name in reference][1:]
        for scores in (found, reference)
    ]
    pair = found["background"], reference["background"]
    return drift(*pair), overlap(*pair), np.subtract(*rates).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", default="")
    arguments = parser.parse_args()
    dataset = data.load(configured(0, arguments.cache).data)
    rows: dict[str, list] = {}
    for seed in range(arguments.seeds):
        config = configured(seed, arguments.cache)
        with contextlib.redirect_stdout(io.StringIO()):
            teacher = teach(config, dataset, bench(fit))
        source = quantized.float_network(teacher, config)
        stage = methods.stage("quantized", config, dataset.layout)

        def float_score(raw: Any, stage: Any = stage, source: Any = source) -> Any:
            x = stage.apply({"inputs": source.inputs}, raw)
            return (quantized.codes_of(source.layers, x) ** 2).sum(-1)

        reference = scores_of(float_score, dataset)
        at_hand = bench(fit)._replace(load=lambda path, teacher=teacher: teacher)
        for name, way in WAYS.items():
            config = configured(seed, arguments.cache, **way, teacher="at hand")
            with contextlib.redirect_stdout(io.StringIO()):
                fitted = quantized.fit(config, dataset, at_hand)
            score = quantized.scores(config, dataset.layout)

            def member(raw: Any, score: Any = score, fitted: Any = fitted) -> Any:
                return score(fitted, raw)["mu2"][0]

            result = compared(scores_of(member, dataset), reference)
            rows.setdefault(name, []).append((int(fitted["ebops"][0]), *result))
    print("| way | EBOPs | drift | overlap | largest mean change of TPR |\n|---|---|---|---|---|")
    for name, found in rows.items():
        cost, far, same = (np.median([row[i] for row in found]) for i in range(3))
        change = np.abs(np.mean([row[3] for row in found], axis=0)).max()
        print(f"| {name} | {cost:,.0f} | {far:.3f} | {same:.2f} | {change:.3f} |")


if __name__ == "__main__":
    main()
