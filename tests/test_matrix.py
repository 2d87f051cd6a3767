"""Any method on any data: every method on every input of its kind, from a file to an export.

    pytest tests/test_matrix.py -m "" -s

prints the table of docs/data.md.
"""

import importlib

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_jets import random_jets
from random_scorers import trigger_data

from jaxad import data, inputs, methods
from jaxad.commands import score
from jaxad.commands.evaluate import evaluate
from jaxad.commands.train import train
from jaxad.errors import UserError
from jaxad.export import cpp, onnx, stablehlo
from jaxad.export.contract import contract, function
from jaxad.scorer import load

N_BACKGROUND, N_SIGNAL = 500, 80
RESONANT = ("cathode", "iad", "supervised", "cwola", "anode", "lacathode", "ranode")
SHALLOW = (
    *("isolation_forest", "one_class_svm", "gaussian_mixture", "nearest_neighbours"),
    "mahalanobis",
)
SMALL = ("rbm", "student", "flow_norm", "feature_autoencoder", "quantized")
VECTOR = (
    *("autoencoder", "normalised_autoencoder", "pca", "trigger_autoencoder"),
    *(*SMALL, *SHALLOW, *RESONANT),
)
IMAGE = (
    "autoencoder",
    "normalised_autoencoder",
    "pca",
    "mean_image",
    "pca_16",
    "codae",
    "codvae",
    "dirichlet_vae",
    "qcd_or_what",
    "cct",
)
COUNTS = ("cicada",)  # of images that hold counts
CONFIGS = {
    "autoencoder": "features_ae",
    "normalised_autoencoder": "normalised",
    "pca": "features_ae",
    "mean_image": "toptagging_ae",
    "pca_16": "toptagging_ae",
    "two_views": "jets_best",
    "trigger_autoencoder": "adc2021_vae",
    "rbm": "adc2021_rbm",
    "feature_autoencoder": "adc2021_features",
    "student": "adc2021_student",
    "decade": "adc2021_decade",
    "flow_norm": "adc2021_flow_norm",
    "quantized": "adc2021_quantized",
    "hln": "interpretable_hln",
    "pnn": "interpretable_pnn",
    **dict.fromkeys(SHALLOW, "adc2021_shallow"),
}

# Name in the table: (file, settings of `data`, settings of `inputs`).
VECTORS = {
    "trigger events": ("trigger", {"format": "ptetaphi"}, {"name": "trigger_event"}),
    "trigger integers": ("trigger", {"format": "ptetaphi"}, {"name": "trigger_integer"}),
    "jet observables, EFPs": (
        "jets",
        {"format": "ptetaphi"},
        {"name": "jet_observables", "max_degree": 2},
    ),
    "jet features": ("jets", {"format": "ptetaphi"}, {"name": "jet_features", "efp_degree": 1}),
    "a table, MeV": (
        "table",
        {"format": "features", "mass_key": "mass", "units": "MeV"},
        {"name": "features"},
    ),
}
IMAGES = {
    "jet images": ("jets", {"format": "ptetaphi"}, {"name": "jet_image", "n_pixels": 12}),
    "images": ("images", {"format": "image"}, {"name": "image"}),
    "detector images": (
        "detector",
        {"format": "image"},
        {"name": "image", "pixels": "mask"},
    ),
}
SETS = {
    "trigger events": VECTORS["trigger events"],
    "particles": ("jets", {"format": "ptetaphi"}, {"name": "particles"}),
    "a set of particles": (
        "jets",
        {"format": "ptetaphi"},
        {"name": "particle_set", "n_particles": 10},
    ),
}
MASKED = ("set_autoencoder", "masked_particles", "contrastive")
NOT_EVALUATED = ("codae", "codvae", "cct", "qcd_or_what")
# The default suite takes each input, with what is quick; -m "" takes all. Methods that are missing
# train whole in tests/methods, tests/evaluation and tests/commands.
SHORT = {
    ("vector", "trigger events"): ("one_class_svm",),
    ("vector", "trigger integers"): ("pca",),
    ("vector", "jet observables, EFPs"): ("gaussian_mixture",),
    ("vector", "jet features"): ("mahalanobis",),
    ("vector", "a table, MeV"): ("mahalanobis", "nearest_neighbours"),
    ("image", "jet images"): ("mean_image",),
    ("image", "images"): ("pca_16",),
    ("image", "detector images"): ("pca",),
    ("set", "trigger events"): ("trigger_autoencoder",),
}
WINDOWS = {"trigger": "0.2-0.75", "jets": "0.08-0.16", "table": "3.3-3.7"}
TABLE: dict[tuple[str, str], str] = {}


def cases():
    pairs = [(method, "vector", name) for method in VECTOR for name in VECTORS]
    pairs.remove(("trigger_autoencoder", "vector", "trigger events"))  # which it takes as sets
    pairs.remove(("quantized", "vector", "trigger events"))  # of which its teacher takes sets
    pairs += [(method, "image", name) for method in IMAGE for name in IMAGES]
    pairs += [(method, "image", "images") for method in COUNTS]
    pairs += [("decade", "vector", "trigger events")]  # whose observables it knows
    pairs += [("two_views", "vector", "jet features")]
    pairs += [("trigger_autoencoder", "set", "trigger events")]
    pairs += [(method, "set", "particles") for method in ("hln", "pnn")]
    pairs += [(method, "set", "a set of particles") for method in MASKED]
    for method, kind, name in pairs:
        long = method not in SHORT.get((kind, name), ())
        yield pytest.param(method, kind, name, marks=[pytest.mark.long] if long else [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One file a raw format, its last events signal."""
    folder, n = tmp_path_factory.mktemp("matrix"), N_BACKGROUND + N_SIGNAL
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [N_BACKGROUND, N_SIGNAL])
    hot = 1 + 0.5 * label
    trigger = trigger_data(n) * np.stack([hot, np.ones(n), np.ones(n)], -1)[:, None]
    jets = random_jets(1, n, 14, spread=0.15)
    table = rng.normal(size=(n, 4)) * [1, 2, 3, 4] + label[:, None]
    mass = np.where(label, rng.normal(3.5e6, 3e4, n), rng.uniform(2.8e6, 4.2e6, n))
    images = rng.poisson(0.4, (n, 16, 12)) + rng.poisson(0.2, (n, 16, 12)) * label[:, None, None]
    detector = rng.poisson(0.15 * hot[:, None, None, None], (n, 24, 20, 3))
    for name, x in {
        "trigger": trigger,
        "jets": jets,
        "table": table,
        "images": images,
        "detector": detector,
        "counts": 20 * images,
    }.items():
        np.savez(folder / f"{name}.npz", x=x.astype(np.float32), label=label, mass=mass)
    return folder


def experiment(method, kind, name, folder):
    """The smoke variant of the method's config, pointed at this input."""
    family = "codae" if method == "codvae" else method
    config = importlib.import_module(f"jaxad.configs.{CONFIGS.get(method, method)}")
    config = config.get_config("smoke")
    if method == "autoencoder" and kind == "image":
        config = importlib.import_module("jaxad.configs.toptagging_ae").get_config("smoke")
    file, settings, chosen = {"vector": VECTORS, "image": IMAGES, "set": SETS}[kind][name]
    file = "counts" if method in COUNTS else file
    source = str(folder / f"{file}.npz")
    settings = settings | {"label_key": "label", "signals": "s=1", "cache": str(folder / "cache")}
    if method in RESONANT:
        settings |= {"window": WINDOWS[file], "inject": 40}
    if method == "cct":
        settings["supervised"] = True
    config.data = data.get_config("events", source=source, **settings)
    config.inputs = inputs.get_config(**chosen)
    if method in COUNTS:
        config.inputs.pixels = "counts"
    config.method.name, config.baselines = family, ()
    if "augment" in config.method:
        config.method.augment = False
    if method == "cicada":
        config.teacher.method.augment = False
    if method == "trigger_autoencoder" and kind == "vector":
        config.method.loss = "plain"
    if method == "student":
        config.method.teacher = str(folder / f"teacher-{file}")
    if method in ("hln", "pnn"):
        config.method.passes = 1
    return config


def exported(scorer, raw):
    """Formats that hold the score, beside StableHLO, which has to.

    What they say is compared, C++ apart, which other tests compile.
    """
    about, done = contract(scorer, "run", 0.3), []
    params = jax.tree.map(jnp.asarray, scorer.params)
    single = lambda x: scorer.fn(params, x)  # noqa: E731
    try:
        cpp.header(single, scorer.shape, about)
        done.append("C++")
    except UserError:
        pass
    try:
        found = onnx.loaded(onnx.model(single, scorer.shape, about))(raw)[:, 0]
        np.testing.assert_allclose(found, scorer(raw), rtol=2e-3, atol=2e-3)
        done.append("ONNX")
    except UserError:
        pass
    program = stablehlo.loaded(stablehlo.program(function(scorer, about), scorer.shape))
    np.testing.assert_allclose(program(raw)[:, 0], scorer(raw), rtol=2e-3, atol=2e-3)
    return done


@pytest.mark.parametrize(("method", "kind", "name"), cases())
def test_a_method_on_an_input(method, kind, name, folder, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("flatbuffers")
    monkeypatch.chdir(tmp_path)
    config = experiment(method, kind, name, folder)
    if method == "student" and not (folder / config.method.teacher).exists():
        train(experiment("isolation_forest", kind, name, folder), folder / config.method.teacher)
    train(config, tmp_path / "run")
    scorer = load(tmp_path / "run")
    assert methods.stage(scorer.method, scorer.config, scorer.layout).kind == kind
    file = config.data.source
    assert score.main([str(tmp_path / "run"), file, "--out", "scores.h5"]) == 0
    with h5py.File("scores.h5") as found:
        scores = found[scorer.names[0]][:]
    with data.open_events(config.data, file) as events:
        raw = events[0 : len(events)]
    assert len(scores) == N_BACKGROUND + N_SIGNAL and np.isfinite(scores).all()
    np.testing.assert_array_equal(scores, scorer.scores(raw)[scorer.names[0]])
    assert len(scorer.background) and scorer.threshold(0.3)["sample"].startswith("test background")
    if method not in NOT_EVALUATED:
        metrics = evaluate(tmp_path / "run", n_bootstrap=0)
        assert 0 <= metrics["signals"]["s"]["scores"][scorer.names[0]]["auc"] <= 1
    TABLE[method, name] = ", ".join(exported(scorer, raw[:20])) or "–"


@pytest.fixture(scope="module", autouse=True)
def table():
    """Prints the table after the last case, where pytest captures nothing."""
    yield
    columns = list(dict.fromkeys([*VECTORS, *IMAGES, *SETS]))
    methods = sorted({method for method, _ in TABLE})
    cells = [[f"`{method}`", *(TABLE.get((method, c), "") for c in columns)] for method in methods]
    lines = [["method", *columns], ["---"] * (1 + len(columns)), *cells]
    print("", *(f"| {' | '.join(line)} |" for line in lines), sep="\n")
