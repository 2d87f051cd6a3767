"""Scorers for the samples of `semantic_cases`, each compiled and exported once."""

import dataclasses
import json
from pathlib import Path
from unittest.mock import patch

import jax
import numpy as np
from ml_collections import ConfigDict
from random_scorers import trigger_scorer
from semantic_samples import INPUTS, SAMPLES

from jaxad import data, inputs, load
from jaxad.commands import export
from jaxad.data.layout import PARTICLES, Layout
from jaxad.data.particles import jet_observables
from jaxad.errors import UserError
from jaxad.export import verify
from jaxad.scorer import Scorer


class Bench:
    """Scorers of fixed parameters, their runs and exports: one for each way to read events."""

    def __init__(self, folder: Path):
        self._folder, self._known = folder, {}
        self.cache = str(folder / "cache")

    def once(self, kind: str, about: object, make):
        """What `make` gave for the first call with these arguments; it gets a folder of its own."""
        key = kind, json.dumps(about, sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = make(self._folder / f"{kind}{len(self._known)}")
        return self._known[key]

    def fitted(self, sample: str, method: str) -> dict:
        """Parameters of a linear autoencoder: random components of the sample's input."""

        def make(_: Path) -> dict:
            (x, layout), (name, chosen) = SAMPLES[sample], INPUTS[method]
            section = inputs.get_config(name, **chosen)
            stage = inputs.stage(section, layout, ("vector", "image"), "pca")
            values = np.asarray(jax.jit(stage.values)(x()))
            rng, d = np.random.default_rng(0), values[0].size
            return {
                "mean": rng.normal(0, 0.1, d).astype(np.float32),
                "components": rng.normal(0, d**-0.5, (2, d)).astype(np.float32),
                "inputs": stage.fit(values),
            }

        return self.once("fitted", [sample, method], make)

    def scorer(self, sample: str, method: str, layout: Layout, section: ConfigDict) -> Scorer:
        """An untrained scorer that reads events as `section` says."""
        if method == "trigger network":
            found = trigger_scorer("dense_ae", 200)
            found.config.data = section
            return dataclasses.replace(found, layout=layout)
        name, chosen = INPUTS[method]
        config = ConfigDict({"inputs": inputs.get_config(name, **chosen), "data": section})
        background = np.geomspace(1e-3, 1e3, 500, dtype=np.float32)
        return Scorer("pca", config, self.fitted(sample, method), layout, background)

    def expected(self, sample: str, method: str) -> np.ndarray:
        """Scores of the sample in its plainest form."""

        def make(_: Path) -> np.ndarray:
            x, layout = SAMPLES[sample]
            scores = self.run(sample, method, layout, data.get_config("events"))[1](x())
            assert len(np.unique(scores)) == len(scores)
            return scores

        return self.once("expected", [sample, method], make)

    def mass(self, sample: str) -> np.ndarray:
        """Invariant or resonant mass [GeV] of the events."""
        x, layout = SAMPLES[sample][0](), SAMPLES[sample][1]
        return jet_observables(x)["mass"] if layout.format in PARTICLES else 1000 * x[:, 0]

    def run(
        self, sample: str, method: str, layout: Layout, section: ConfigDict
    ) -> tuple[Path, Scorer]:
        """The run of a scorer, and what `load` gives for it, reading events as `section` says."""

        sample = sample.partition(",")[0]

        def make(folder: Path) -> tuple[Path, Scorer]:
            self.scorer(sample, method, layout, section).save(folder / "scorer")
            return folder, load(folder)

        folder, scorer = self.once("run", [sample, method, free(layout).to_dict()], make)
        scorer.config.data = section
        return folder, scorer

    def exported(self, run: Path, scorer: Scorer, x: np.ndarray, form: str):
        """Raw events to scores, of the run in a format; None where it has none.

        The form "folder" is what `load` makes of an exported folder.
        """

        def make(folder: Path):
            np.save(run / "events.npy", x.astype(np.float32))
            kind = "stablehlo" if form == "folder" else form
            try:
                with patch("jaxad.export.folder.load", lambda _: scorer):
                    export.export(run, [kind], folder, 0.2, str(run / "events.npy"), "x")
            except UserError as error:
                assert form == "cpp" and "no translation" in str(error)
                return None
            if form == "folder":
                return load(folder)
            runtime = verify.runtime(folder, verify.read_contract(folder), form)
            return lambda x: runtime(x.astype(np.float32))[:, 0]

        return self.once("export", [run, form], make)


def free(layout: Layout) -> Layout:
    """The layout without the number of particles, which scorers leave free."""
    some = layout.format in PARTICLES and not layout.objects and layout.shape != (19, 3)
    return dataclasses.replace(layout, shape=()) if some else layout
