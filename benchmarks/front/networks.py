"""The networks of one seed: the float one, and what every way makes of it."""

from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.front import forest, search
from benchmarks.front.points import BACKGROUND, Point
from benchmarks.front.ways import CONTROL, FLOAT, STUDENT_HIDDEN, Way
from jaxad import inputs
from jaxad.commands.train import bench, build_scorer
from jaxad.data.dataset import Dataset
from jaxad.devices.batches import in_batches
from jaxad.export.hls import estimates
from jaxad.export.hls.integer import firmware
from jaxad.fixed import from_float, run, to_float
from jaxad.inputs.trigger import N_INPUTS
from jaxad.methods import quantized, student, trigger_autoencoder
from jaxad.methods.quantized import Float
from jaxad.methods.stages import rows
from jaxad.methods.stages.integers import LANE, input_type, network_of, with_types
from jaxad.methods.stages.teacher import own_config, teach
from jaxad.models.affine import Affine
from jaxad.models.integers import ebops, integers
from jaxad.models.quantized import calibrated
from jaxad.scorer import Scorer, load
from jaxad.training import fit

CODE_BITS = 14
"""Of the student's number, ln s: a step must not tie the highest scores."""
Score = Callable[[np.ndarray], np.ndarray]


class Outcome(NamedTuple):
    """A score of raw events (n, 19, 3), and what it costs."""

    score: Score
    costs: dict[str, int]


def estimated(logic: Callable[[], Any]) -> dict[str, int]:
    """LUTs, flip-flops and stages, where da4ml is installed."""
    if find_spec("da4ml") is None:
        return {}
    found = estimates.estimates(logic())
    return {name: found[name] for name in ("lut", "ff", "stages")}


class Networks:
    """Each is made when it is first asked for; scorers are kept in the folder of their way."""

    def __init__(self, config: ConfigDict, dataset: Dataset, folder: Path):
        self.config, self.dataset, self.folder = config, dataset, folder

    def point(self, way: Way) -> Point:
        """The way's scores of all test events, and its costs."""
        makers = {"student": self._student, "student, float": self._student, "trees": self._trees}
        makers |= {FLOAT.family: self._float, CONTROL.family: self._control}
        outcome = makers.get(way.family, self._quantized)(way)
        parts = {BACKGROUND: self.dataset.test, **self.dataset.signals}
        scores = {name: np.asarray(outcome.score(part["x"])) for name, part in parts.items()}
        return Point(scores, outcome.costs)

    @cached_property
    def teacher(self) -> Scorer:
        """The float network."""
        folder = self.folder / FLOAT.folder
        if not (folder / "scorer" / "scorer.json").exists():
            scorer = teach(self.config, self.dataset, bench(fit))
            fitted, own = scorer.params, own_config(self.config)
            build_scorer(own, "trigger_autoencoder", fitted, self.dataset).save(folder / "scorer")
        return load(folder)

    @cached_property
    def source(self) -> Float:
        """Its layers up to the code."""
        return quantized.float_network(self.teacher, self.config, N_INPUTS)

    @cached_property
    def rows(self) -> tuple[dict, dict]:
        """Inputs and float codes of the training and the validation part."""
        stage = inputs.stage(self.config.inputs, self.dataset.layout, quantized.KINDS, "quantized")
        return quantized.rows_of(self.config, stage, self.source, self.dataset)

    @cached_property
    def targets(self) -> tuple[np.ndarray, np.ndarray]:
        """ln s (n,) of the float network, of both."""
        return tuple(np.log(np.sum(np.square(part["codes"]), axis=-1)) for part in self.rows)

    @cached_property
    def path(self) -> list[search.Step]:
        """The greedy search."""
        return search.searched(self.config, self.source, self.rows[1])

    def inputs_of(self, raw: np.ndarray) -> np.ndarray:
        """The network's inputs (n, 57), on their grid."""
        stage = inputs.stage(self.config.inputs, self.dataset.layout, quantized.KINDS, "quantized")
        return in_batches(lambda x: stage.apply({"inputs": self.source.inputs}, x), raw, "inputs")

    def _float(self, way: Way) -> Outcome:
        return Outcome(lambda x: self.teacher.scores(x)["mu2"], {})

    def _control(self, way: Way) -> Outcome:
        """The float network, trained on by its own loss for the epochs of the fine-tuning."""
        own = own_config(self.config)
        own.train = self.config.train
        stage = trigger_autoencoder.stage_of(own, self.dataset.layout)
        learnt, train, val = rows.background(own, stage, self.dataset)
        start = jax.tree.map(
            lambda a: jnp.asarray(a)[0, 0],
            (self.teacher.params["params"], self.teacher.params.get("state", {})),
        )
        job = trigger_autoencoder.task(own, learnt)._replace(init=lambda key, batch: start)
        done = fit(job, train, val, own.train, self.config.seed, stage="control")
        fitted = {"params": done.params, "state": done.state, "inputs": learnt}
        scorer = build_scorer(own, "trigger_autoencoder", fitted, self.dataset)
        return Outcome(lambda x: scorer.scores(x)["mu2"], {})

    def _quantized(self, way: Way) -> Outcome:
        config, changes = self.config.copy_and_resolve_references(), dict(way.changes)
        share = changes.pop("share", None)
        if share:
            bits, n = search.at_share(self.path, share).bits, len(self.source.layers)
            changes |= {"weight_bits": bits[:n], "activation_bits": (*bits[n:], 0)}
        teacher = self.teacher  # trained and kept
        with config.method.ignore_type():
            config.method.update(changes, teacher=str(self.folder / FLOAT.folder))
        at_hand = bench(fit)._replace(load=lambda _: teacher)
        fitted = quantized.fit(config, self.dataset, at_hand)
        scorer = build_scorer(config, "quantized", fitted, self.dataset)
        scorer.save(self.folder / way.folder / "scorer")
        costs = estimated(lambda: estimates.firmware_logic(firmware(scorer)))
        return Outcome(scorer, {"ebops": int(fitted["ebops"][0]), **costs})

    @cached_property
    def float_student(self) -> Float:
        """A small network that guesses ln s."""
        config = self.config.copy_and_resolve_references()
        with config.unlocked():
            config.model = ConfigDict({"hidden": STUDENT_HIDDEN})
        train, val = (
            {"x": part["x"], "target": target.astype(np.float32)}
            for part, target in zip(self.rows, self.targets, strict=True)
        )
        job = student.task(config)
        done = fit(job, train, val, config.train, config.seed, stage="student")
        params = jax.tree.map(lambda a: np.asarray(a)[0, 0], done.params)
        *hidden, last = (
            Affine(params[name]["kernel"], params[name]["bias"]) for name in sorted(params)
        )
        return self.source._replace(layers=[*hidden, last._replace(relu=False)])

    def _student(self, way: Way) -> Outcome:
        """The student, trained on in few bits; its score is e to its number."""
        bits, own = way.changes["bits"], self.float_student
        if not bits:
            return Outcome(self._exponential(lambda x: quantized.codes_of(own.layers, x)), {})
        config = self.config.copy_and_resolve_references()
        config.method.update(
            weight_bits=bits, activation_bits=8, code_bits=CODE_BITS, target="codes"
        )
        widths, grid = quantized.widths_of(config), input_type(config)
        train, val = (
            {"x": part["x"], "codes": target[:, None].astype(np.float32)}
            for part, target in zip(self.rows, self.targets, strict=True)
        )
        start = calibrated(own.layers, val["x"], grid.fraction, widths)
        steps = config.train.epochs * -(-len(train["x"]) // config.train.batch_size)
        size = float(np.var(train["codes"], dtype=np.float64))
        job = quantized.task(config, own, jax.tree.map(jnp.asarray, start), steps, size)
        done = fit(job, train, val, config.train, config.seed, stage="student")
        params, types = jax.tree.map(
            lambda a: a[0, 0], (done.params["layers"], done.state["types"])
        )
        layers = integers(params, types, widths)
        network = network_of(config, with_types(layers))

        def number(x: jax.Array) -> jax.Array:
            return to_float(*run(network, from_float(x, grid, LANE), grid, LANE))

        fitted = {"layers": jax.tree.map(lambda a: a[None], layers), "inputs": own.inputs}
        fitted["ebops"] = np.array([ebops(layers, grid.width - grid.signed)], np.int32)
        found = firmware(Scorer("quantized", config, fitted, self.dataset.layout))
        costs = estimated(lambda: estimates.network_logic(found))
        return Outcome(self._exponential(number), {"ebops": found.ebops, **costs})

    def _exponential(self, number: Callable[[jax.Array], jax.Array]) -> Score:
        def score(raw: np.ndarray) -> np.ndarray:
            found = in_batches(number, self.inputs_of(raw), "scores")
            return np.exp(found[:, 0].astype(np.float64))

        return score

    def _trees(self, way: Way) -> Outcome:
        """Boosted trees that guess ln s; firmware compares in all nodes at once."""
        n, leaves = way.changes["trees"]
        model = HistGradientBoostingRegressor(
            max_iter=n, max_leaf_nodes=leaves, early_stopping=False, random_state=self.config.seed
        )
        model.fit(self.rows[0]["x"], self.targets[0])
        forest.round_leaves(model)
        nodes = [tree.nodes for (tree,) in model._predictors]
        comparisons = sum(int(np.sum(tree["is_leaf"] == 0)) for tree in nodes)
        score = lambda raw: np.exp(model.predict(self.inputs_of(raw)))  # noqa: E731
        costs = estimated(lambda: self._forest_logic(model))
        return Outcome(score, {"comparisons": comparisons, **costs})

    def _forest_logic(self, model: HistGradientBoostingRegressor) -> Any:
        """da4ml's logic of trees, from the counts on, which any network scales alike."""
        from da4ml.trace import comb_trace

        config, teacher = self.config.copy_and_resolve_references(), self.teacher
        with config.method.ignore_type():
            config.method.update(target="none", teacher=str(self.folder / FLOAT.folder))
        at_hand = bench(fit)._replace(load=lambda _: teacher)
        fitted = quantized.fit(config, self.dataset, at_hand)
        found = firmware(Scorer("quantized", config, fitted, self.dataset.layout))
        counts, x = estimates.scaled_counts(found)
        return comb_trace(counts, forest.total(model, x))
