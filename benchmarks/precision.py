"""What TF32 and bfloat16 products do to AUC, in training and in scoring, for each network.

  PYTHONPATH=. python benchmarks/precision.py --seeds 3 --jets FILE --lhco FOLDER --codae FOLDER

Each network is trained on the same events and seeds with float32, TF32 and bfloat16 products in its
training steps, and scored in float32; the one of float32 is scored with each as well. All seeds are
members of one training. Prints a Markdown table of AUC, the mean over signals. FILE holds the
hls4ml jets, the FOLDERs what the configs cathode and codae read; what is not given is simulated. A
GPU multiplies TF32 itself; bfloat16 there, and both on a CPU, are emulated (benchmarks/rounded.py).
"""

import argparse
import contextlib
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import rounded
from benchmarks.accelerator.cases import CASES, experiment, write_files
from jaxad import data, methods
from jaxad.commands.train import bench
from jaxad.configs import adc2021_vae
from jaxad.data.dataset import Dataset
from jaxad.devices import compiler
from jaxad.devices.precision import CHOSEN
from jaxad.metrics.roc import auc
from jaxad.scorer import Scorer
from jaxad.training import fit

FLOAT32, CHANGED = "float32", ("TF32", "bfloat16")
FAMILIES = {"--jets": "the hls4ml jets", "--lhco": "LHC Olympics", "--codae": "event images"}
TRIGGER = {"data.n_simulated": 6000}
IMAGES = {"data.n_events": 600, "data.n_simulated": 600, "train.batch_size": 64}
SMALL = {"model.features": (8, 16), "model.latent": 16}


class Network(NamedTuple):
    """One row: a config, the made-up events that stand for its own in a tiny run, its size."""

    title: str
    config: str
    case: str
    settings: dict[str, Any]
    family: str = ""  # whose files may be given
    real: str = ""  # the config that reads them, if it is another one
    members: str = "train.ensemble"  # the setting that says how many are trained at once
    other: dict[str, Any] = {}  # noqa: RUF012  settings of one more training, in float32


NETWORKS = {
    "toptagging": Network(
        "top tagging, conv AE, a quarter of the width",
        "toptagging_ae",
        "autoencoder (conv)",
        {
            **{"data.n_simulated": 2000, "data.n_events": 3000, "train.epochs": 5},
            **{"model.width": 32},
        },
        "jets",
        "hls4ml_ae",
    ),
    "dense_ae": Network(
        "ADC2021, dense AE",
        "adc2021_vae",
        "trigger_autoencoder (dense_vae)",
        TRIGGER | {"model.name": "dense_ae", "method.beta": 0.0},
    ),
    "dense_vae": Network(
        "ADC2021, dense VAE", "adc2021_vae", "trigger_autoencoder (dense_vae)", TRIGGER
    ),
    "conv_vae": Network(
        "ADC2021, conv VAE",
        "adc2021_conv_vae",
        "trigger_autoencoder (conv_vae)",
        TRIGGER | {"train.epochs": 30},
    ),
    "rbm": Network("ADC2021, RBM", "adc2021_rbm", "rbm", TRIGGER),
    "student": Network("ADC2021, student of the dense VAE", "adc2021_student", "student", TRIGGER),
    "cathode": Network(
        "CATHODE, flow and classifiers",
        "cathode",
        "cathode",
        {"flow_train.epochs": 8, "classifier.members": 4, "train.epochs": 6},
        "lhco",
        members="classifier.runs",
    ),
    "supervised": Network(
        "supervised classifiers",
        "supervised",
        "supervised",
        {"classifier.members": 5, "train.epochs": 10},
        "lhco",
        members="classifier.runs",
    ),
    "hln": Network(
        "HLN mimicker and its pooled AE",
        "interpretable_hln",
        "hln",
        {
            **{"data.n_events": 2000, "data.n_simulated": 500, "teacher.train.epochs": 3},
            **{"train.epochs": 20, "method.passes": 3, "method.max_degree": 3},
        },
        "jets",
        "interpretable_hls4ml",
    ),
    "codae": Network(
        "CoDAE, two levels of 8 and 16 channels",
        "codae",
        "codae",
        IMAGES | SMALL | {"train.epochs": 4},
        "codae",
        other={"model.dtype": "bfloat16"},
    ),
    "dirichlet_vae": Network(
        "Dirichlet VAE, an eighth of the width",
        "dirichlet_vae",
        "dirichlet_vae",
        IMAGES | {"train.epochs": 20, "model.hidden": 64},
        "codae",
    ),
    "qcd_or_what": Network(
        "QCD or What?", "qcd_or_what", "qcd_or_what", IMAGES | {"train.epochs": 5}, "codae"
    ),
    "cct": Network(
        "CCT, a quarter of the channels",
        "cct",
        "cct",
        IMAGES | {"model.features": (16, 32), "train.epochs": 5},
        "codae",
    ),
}


@contextlib.contextmanager
def training_in(products: str) -> Iterator[None]:
    """Training steps compiled inside multiply so; everything else is float32."""
    with mock.patch.dict(os.environ):
        os.environ.pop(CHOSEN, None)
        if products == FLOAT32:
            os.environ[CHOSEN] = "highest"
        with jax.default_matmul_precision("highest"), _device(products):
            yield


@contextlib.contextmanager
def scoring_in(products: str) -> Iterator[None]:
    """All that is compiled inside multiplies so."""
    name = "highest" if products == FLOAT32 else "default"
    chosen = mock.patch.dict(os.environ, {CHOSEN: name})
    with chosen, jax.default_matmul_precision(name), _device(products):
        yield


def _device(products: str) -> contextlib.AbstractContextManager[None]:
    """A device whose default products are these; those that say "highest" stay float32."""
    itself = products == "TF32" and jax.default_backend() == "gpu"
    if products == FLOAT32 or itself:
        return contextlib.nullcontext()
    return rounded.products(rounded.MANTISSA_BITS[products])


def config_of(network: Network, sources: dict[str, str], folder: Path) -> ConfigDict:
    """The network's config at the size of the table, its events those of `sources` if there."""
    source = sources.get(network.family, "")
    name = (source and network.real) or network.config
    config = importlib.import_module(f"jaxad.configs.{name}").get_config()
    if source:
        config.data.source = source
    if network.config == "adc2021_student":
        teacher = adc2021_vae.get_config()
        config.teacher = {key: teacher[key] for key in ("method", "model", "train")}
    idle = "data.n_simulated" if source else "data.n_events"
    for name, value in network.settings.items():
        if name != idle:
            _set(config, name, value)
    config.data.cache = str(folder / "cache")
    return config


def _set(config: ConfigDict, name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for section in sections:
        config = config[section]
    config[last] = value


def trained(config: ConfigDict, dataset: Dataset, products: str) -> Scorer:
    """A scorer whose training steps multiplied so."""
    with training_in(products), contextlib.redirect_stdout(sys.stderr):
        fitted = methods.get(config.method.name).fit(config, dataset, bench(fit))
    own = config.copy_and_resolve_references()
    return Scorer(config.method.name, own, jax.device_get(fitted), dataset.layout)


def mean_auc(scorer: Scorer, dataset: Dataset, products: str) -> np.ndarray:
    """Mean of the AUC of all signals (members,), of scores whose products are these."""
    fresh = Scorer(scorer.method, scorer.config, scorer.params, scorer.layout)
    with scoring_in(products):
        background, *signals = (
            np.atleast_2d(fresh.member_scores(rows["x"])[fresh.names[0]])
            for rows in (dataset.test, *dataset.signals.values())
        )
    areas = [[auc(*pair) for pair in zip(background, signal, strict=True)] for signal in signals]
    return np.mean(areas, axis=0)


def measure(config: ConfigDict, other: dict[str, Any]) -> dict[str, np.ndarray]:
    """AUC of every member: "float32", and "training TF32", "scoring TF32" and so on; "other"."""
    with jax.default_matmul_precision("highest"), contextlib.redirect_stdout(sys.stderr):
        dataset = data.load(config.data)
    exact = trained(config, dataset, FLOAT32)
    found = {FLOAT32: mean_auc(exact, dataset, FLOAT32)}
    for products in CHANGED:
        found[f"scoring {products}"] = mean_auc(exact, dataset, products)
        rough = trained(config, dataset, products)
        found[f"training {products}"] = mean_auc(rough, dataset, FLOAT32)
    if other:
        for name, value in other.items():
            _set(config, name, value)
        found["other"] = mean_auc(trained(config, dataset, FLOAT32), dataset, FLOAT32)
    return found


HEADER = (
    "network",
    "AUC, float32",
    *(f"{w}, {p}" for w in ("training", "scoring") for p in CHANGED),
)


def rows(network: Network, found: dict[str, np.ndarray]) -> Iterator[str]:
    """Lines of the table: medians over seeds (smallest to largest), changes seed by seed."""
    exact = found[FLOAT32]
    changes = [
        _cell(found[f"{what} {products}"] - exact, "+.4f")
        for what in ("training", "scoring")
        for products in CHANGED
    ]
    yield _line(network.title, _cell(exact, ".4f"), *changes)
    if network.other:
        said = ", ".join(f"{name}={value}" for name, value in network.other.items())
        change = _cell(found["other"] - exact, "+.4f")
        yield _line(f"the same, `{said}`", _cell(found["other"], ".4f"), "", change, "", "")


def _cell(values: np.ndarray, form: str) -> str:
    ends = f"{values.min():{form}} to {values.max():{form}}"
    return f"{np.median(values):{form}}" + (f" ({ends})" if len(values) > 1 else "")


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="*", default=[*NETWORKS], choices=[*NETWORKS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workdir", type=Path, help="where simulated events are kept")
    parser.add_argument("--tiny", action="store_true", help="made-up events, smoke configs")
    for name, text in FAMILIES.items():
        parser.add_argument(name, default="", help=f"{text}; simulated without")
    given, say = parser.parse_args(argv), partial(print, flush=True)
    compiler.keep_programs()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.workdir or Path(temporary)
        if given.tiny:
            write_files(folder)
        emulated = CHANGED if jax.default_backend() != "gpu" else CHANGED[1:]
        device = jax.devices()[0].device_kind
        say(f"{device}, jax {jax.__version__}; emulated: {', '.join(emulated)}\n")
        say(_line(*HEADER))
        say("|" + "---|" * len(HEADER))
        for network in (NETWORKS[name] for name in given.configs):
            began = time.process_time()
            if given.tiny:
                config = experiment(CASES[network.case], folder)
            else:
                config = config_of(network, vars(given), folder)
            _set(config, network.members, given.seeds)
            for line in rows(network, measure(config, network.other)):
                say(line)
            print(f"{network.title}: {time.process_time() - began:.0f} CPU s", file=sys.stderr)


if __name__ == "__main__":
    main()
