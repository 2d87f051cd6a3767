"""TPR in few bits over many seeds, whose networks are trained at once: no point of the front alone.

    python -m benchmarks.front.seeds --out runs/trigger_seeds --data FOLDER [--seeds 10]

The ways of the front that say how far TPR moves: rounding, fixed widths trained on codes or on the
loss, learnt widths. Member i of an ensemble is what the front trains with seed i. Errors are those
of the front: of the events by a paired bootstrap, then of the seeds by their spread. OUT/seeds.json
and seeds.md hold the results.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.front import summary
from benchmarks.front.__main__ import TRAINED, at_most, configured
from benchmarks.front.points import BACKGROUND, Point
from benchmarks.front.ways import CONTROL, FLOAT, WAYS, Way
from jaxad import data, inputs
from jaxad.commands import cli
from jaxad.commands.train import bench
from jaxad.data.dataset import Dataset
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.inputs.trigger import N_INPUTS
from jaxad.methods import quantized, trigger_autoencoder
from jaxad.methods.quantized import Float
from jaxad.methods.stages import rows
from jaxad.methods.stages.integers import input_type, integer_score
from jaxad.methods.stages.teacher import own_config
from jaxad.models.integers import ebops, integers
from jaxad.models.quantized import calibrated
from jaxad.scorer import Scorer
from jaxad.storage.atomic import write_text
from jaxad.storage.paths import expanded
from jaxad.training import Task, fit

FAMILIES = ("rounding", "codes", "loss", "learnt")


class Ensemble:
    """The float networks of all seeds, and what a way makes of them."""

    def __init__(self, config: ConfigDict, dataset: Dataset, seeds: int):
        self.config, self.dataset, self.seeds = config, dataset, seeds
        self.own = own_config(config)
        self.own.train.ensemble = seeds
        self.floats = trigger_autoencoder.fit(self.own, dataset, bench(fit))
        self.sources = [self._source(member) for member in range(seeds)]
        stage = inputs.stage(config.inputs, dataset.layout, quantized.KINDS, "quantized")
        self.train, self.val = quantized.rows_of(config, stage, self.sources[0], dataset)
        for part in (self.train, self.val):
            codes = [
                in_batches(partial(quantized.codes_of, source.layers), part["x"], "codes")
                for source in self.sources
            ]
            part["codes"] = np.stack(codes, axis=1)
        self.raw = {BACKGROUND: dataset.test["x"]}
        self.raw |= {name: part["x"] for name, part in dataset.signals.items()}
        apply = partial(stage.apply, {"inputs": self.sources[0].inputs})
        self.x = {name: in_batches(apply, raw, name) for name, raw in self.raw.items()}

    def _source(self, member: int) -> Float:
        """Layers of one seed."""
        own = self.own.copy_and_resolve_references()
        own.train.ensemble = 1
        mine = jax.tree.map(lambda a: np.asarray(a)[member : member + 1], self._networks())
        params = {"inputs": self.floats["inputs"], **mine}
        scorer = Scorer("trigger_autoencoder", own, params, self.dataset.layout)
        return quantized.float_network(scorer, self.config, N_INPUTS)

    def _networks(self) -> dict[str, Any]:
        return {key: self.floats[key] for key in ("params", "state")}

    def points(self, way: Way) -> list[Point]:
        """Of every seed."""
        if way in (FLOAT, CONTROL):
            fitted = self.floats if way == FLOAT else self._control()
            scorer = Scorer("trigger_autoencoder", self.own, fitted, self.dataset.layout)
            found = {name: scorer.member_scores(x)["mu2"] for name, x in self.raw.items()}
            return [Point({name: s[i] for name, s in found.items()}, {}) for i in range(self.seeds)]
        config = self.config.copy_and_resolve_references()
        config.train.ensemble = self.seeds
        with config.method.ignore_type():
            config.method.update(way.changes)
        widths, grid = quantized.widths_of(config), input_type(config)
        starts = [
            calibrated(source.layers, self.val["x"], grid.fraction, widths)
            for source in self.sources
        ]
        params, types = jax.tree.map(lambda *a: np.stack(a), *starts)
        if config.method.target != "none":
            params, types = self._trained(config, params, types)
        score, points = jax.jit(partial(integer_score, config)), []
        for member in range(self.seeds):
            own = jax.tree.map(lambda a, m=member: np.asarray(a)[m], (params, types))
            layers = integers(*own, widths)
            cost = ebops(layers, grid.width - grid.signed)
            scores = {
                name: in_batches(lambda part, own=layers: score(own, part), x, name)
                for name, x in self.x.items()
            }
            points.append(Point(scores, {"ebops": cost}))
        return points

    def _trained(self, config: ConfigDict, params: Any, types: Any) -> tuple[Any, Any]:
        """Parameters and types (seeds, ...) after the fine-tuning of all seeds."""
        steps = config.train.epochs * -(-len(self.train["x"]) // config.train.batch_size)
        spread = np.var(self.train["codes"], axis=0, dtype=np.float64).sum(axis=-1)
        rest = config.method.target == "loss"
        float_params = jax.tree.map(lambda a: np.asarray(a)[:, 0], self.floats["params"])
        state = {
            "types": types,
            "step": np.zeros(self.seeds, np.float32),
            "member": np.arange(self.seeds),
            "size": spread.astype(np.float32),
        }

        def loss(params: Any, state: Any, batch: Any, key: Any, training: bool) -> tuple:
            kept = {name: state[name] for name in ("member", "size")}
            state = {name: state[name] for name in ("types", "step")}
            batch = batch | {"codes": batch["codes"][:, kept["member"]]}
            # Of the first seed it reads no array: parameters, types and codes are those given.
            job = quantized.task(config, self.sources[0], ({}, {}), steps, kept["size"])
            value, (metrics, state) = job.loss(params, state, batch, key, training)
            return value, (metrics, state | kept)

        start = {"layers": params, "float": float_params if rest else {}}
        done = fit(
            *(Task(None, loss), self.train, self.val, config.train, self.config.seed),
            stage="quantized",
            initial=jax.tree.map(jnp.asarray, (start, state)),
        )
        return jax.tree.map(lambda a: a[:, 0], (done.params["layers"], done.state["types"]))

    def _control(self) -> dict[str, Any]:
        """The float networks after as many epochs more."""
        own = self.own.copy_and_resolve_references()
        own.train = self.config.train.copy_and_resolve_references()
        own.train.ensemble = self.seeds
        stage = trigger_autoencoder.stage_of(own, self.dataset.layout)
        learnt, train, val = rows.background(own, stage, self.dataset)
        networks = self._networks()
        start = jax.tree.map(
            lambda a: jnp.asarray(a)[:, 0], (networks["params"], networks["state"])
        )
        job = trigger_autoencoder.task(own, learnt)
        done = fit(job, train, val, own.train, own.seed, stage="control", initial=start)
        return {"params": done.params, "state": done.state, "inputs": learnt}


def write(out: Path, found: dict[Way, list[Point]]) -> None:
    """seeds.json and seeds.md."""
    records, comparisons = summary.measured(found), summary.compared(found)
    written = {"ways": records, "at equal EBOPs": comparisons}
    write_text(out / "seeds.json", json.dumps(written, indent=1) + "\n")
    lines = [summary.table(records), ""]
    for baseline in summary.BASELINES:
        own = [c for c in comparisons if c["baseline"] == baseline]
        lines += [f"- {summary.verdict(own)}"] if own else []
    write_text(out / "seeds.md", "\n".join(lines) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=expanded, default=Path("runs/trigger_seeds"))
    parser.add_argument("--data", default="simulation", help="folder of events")
    parser.add_argument("--events", type=int, default=40_000, help="background to simulate")
    parser.add_argument("--cache", default="", help="where simulated events are kept")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=0, help="0: those of the config")
    arguments = parser.parse_args(argv)

    def command() -> None:
        if arguments.seeds < 2:
            raise UserError(f"--seeds: expected 2 or more, found {arguments.seeds}")
        arguments.out.mkdir(parents=True, exist_ok=True)
        config = configured(arguments.data, arguments.events, arguments.cache)
        if arguments.epochs:
            config.train.epochs = config.teacher.train.epochs = arguments.epochs
        dataset = at_most(data.load(config.data), TRAINED)
        print(data.summary(dataset), flush=True)
        ensemble = Ensemble(config, dataset, arguments.seeds)
        found: dict[Way, list[Point]] = {}
        for way in (FLOAT, CONTROL, *(way for way in WAYS if way.family in FAMILIES)):
            found[way] = ensemble.points(way)
            print(f"done: {way.title}", flush=True)
        write(arguments.out, found)
        print((arguments.out / "seeds.md").read_text())

    return cli.exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
