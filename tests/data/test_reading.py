"""One sample in every type, order, unit and container: the same scores from file, array and run."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
from random_jets import random_jets
from random_scorers import trigger_data, trigger_scorer

from jaxad import data, inputs, load
from jaxad.commands import evaluate, export, score
from jaxad.commands.train import train
from jaxad.configs import adc2021_shallow, adc2021_vae, toptagging_ae
from jaxad.errors import UserError

N = 300


def stored(path, **arrays):
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    else:
        np.savez(path, **arrays)


def scores_of(run, path, name="mse"):
    out = path.with_suffix(".scores.h5")
    assert score.main([str(run), str(path), "--out", str(out)]) == 0
    with h5py.File(out) as file:
        return file[name][:]


@pytest.fixture(scope="module")
def jets():
    """Jets (N, 12, 3) of whole numbers of GeV, which every type below holds exactly."""
    x = random_jets(0, N, 12)
    x[..., 0] = np.round(x[..., 0])
    return x * (x[..., :1] > 0)


@pytest.fixture(scope="module")
def run(jets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    stored(folder / "jets.npz", x=jets, label=np.arange(N) % 5 == 0)
    config = toptagging_ae.get_config("smoke")
    settings = {"label_key": "label", "signals": "s=1", "cache": str(folder)}
    config.data = data.get_config("events", source=str(folder / "jets.npz"), **settings)
    config.train.epochs, config.baselines = 1, ()
    train(config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def scorer(run):
    return load(run)


VARIANTS = {
    "float64, big-endian": lambda x: x.astype(">f8"),
    "float32, big-endian": lambda x: x.astype(">f4"),
    "column order": np.asfortranarray,
    "float64": lambda x: x.astype(float),
    "view with steps": lambda x: np.repeat(x, 2, axis=0)[::2],
}


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("name", VARIANTS)
def test_types_and_orders_give_the_same_scores(run, scorer, jets, tmp_path, name, suffix):
    x = VARIANTS[name](jets)
    stored(tmp_path / f"a.{suffix}", x=x, label=np.zeros(N))
    expected = scorer(jets)
    np.testing.assert_array_equal(scorer(x), expected)
    np.testing.assert_array_equal(scores_of(run, tmp_path / f"a.{suffix}"), expected)


@pytest.mark.long
def test_images_of_bools_bytes_and_halves(tmp_path):
    x = np.random.default_rng(0).random((N, 8, 8)) < 0.3
    stored(tmp_path / "images.npz", x=x, label=np.arange(N) % 5 == 0)
    config = toptagging_ae.get_config("smoke")
    settings = {"format": "image", "label_key": "label", "signals": "s=1", "cache": str(tmp_path)}
    config.data = data.get_config("events", source=str(tmp_path / "images.npz"), **settings)
    config.inputs, config.baselines = inputs.get_config("image"), ("pca",)
    config.train.epochs = 1
    train(config, tmp_path / "run")
    scorer = load(tmp_path / "run")
    expected = scores_of(tmp_path / "run", tmp_path / "images.npz")
    for kind in (bool, np.uint8, np.int64, np.float16, ">f2"):
        np.testing.assert_array_equal(scorer(x.astype(kind)), expected)
        stored(tmp_path / "other.npz", x=x.astype(kind))
        np.testing.assert_array_equal(scores_of(tmp_path / "run", tmp_path / "other.npz"), expected)


def test_a_run_trained_on_mev_scores_its_own_file(scorer, jets, tmp_path):
    in_mev = jets * np.float32((1000, 1, 1))
    stored(tmp_path / "mev.npz", x=in_mev, label=np.arange(N) % 5 == 0)
    config = scorer.config.copy_and_resolve_references()
    config.data.update(source=str(tmp_path / "mev.npz"), units="MeV", cache=str(tmp_path))
    train(config, tmp_path / "run")
    own = load(tmp_path / "run")
    assert own.layout.unit == 1e-3
    np.testing.assert_allclose(own(in_mev), scorer(jets), rtol=1e-4)
    scores = scores_of(tmp_path / "run", tmp_path / "mev.npz")
    np.testing.assert_array_equal(scores, own(in_mev))
    dataset = data.load(config.data)
    np.testing.assert_allclose(np.median(dataset.train["pt"]), 600, rtol=0.2)  # GeV
    out = tmp_path / "exported"
    command = [str(tmp_path / "run"), "--format", "stablehlo", "--fpr", "0.3", "--out", str(out)]
    assert export.main(command) == 0
    about = json.loads((out / "export.json").read_text())
    assert about["input"]["units"] == ["0.001 GeV", "", "rad"]
    assert export.main(["verify", str(out), "--events", str(tmp_path / "mev.npz")]) == 0


@pytest.fixture(scope="module")
def exported(run):
    out = run.parent / "exported"
    command = [str(run), "--format", "stablehlo", "--fpr", "0.3", "--out", str(out)]
    assert export.main(command) == 0
    return out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x * np.float32((-1, 1, 1)), "a pT below 0"),
        (lambda x: -x, "a pT below 0"),
        (lambda x: x[..., [1, 2, 0]], r"a pT below 0.* they look like \(eta, phi, pT\)"),
        (lambda x: np.where(x == x.max(), 1e20, x), "a pT above 1e8 GeV"),
        (lambda x: x * np.float32((1000, 1, 1)), "looks like MeV|as of most events that trained"),
        (lambda x: x[..., ::-1], "a pT below 0|a phi beyond 4 pi"),
        (lambda x: x + np.float32((0, 0, 20)), "a phi beyond 4 pi"),
        (lambda x: np.where(x == x.max(), np.nan, x), "NaN or infinity"),
    ],
)
def test_what_a_reader_refuses_the_scorer_refuses(
    run, scorer, exported, jets, tmp_path, spoil, message, capsys
):
    bad = np.ascontiguousarray(spoil(jets).astype(np.float32))
    for each in (scorer, load(exported)):
        with pytest.raises(UserError, match=message):
            each(bad)
    stored(tmp_path / "bad.npz", x=bad)
    config = scorer.config.copy_and_resolve_references()
    config.data.update(source=str(tmp_path / "bad.npz"), label_key="", signals="")
    with pytest.raises(UserError, match=message):
        data.load(config.data)
    assert score.main([str(run), str(tmp_path / "bad.npz"), "--out", str(tmp_path / "s.h5")]) == 2
    assert "bad.npz" in capsys.readouterr().err


def test_padding_may_hold_any_angle(scorer, jets):
    odd = np.where(jets[..., :1] > 0, jets, np.float32((0, -999, 99)))
    np.testing.assert_allclose(scorer(odd), scorer(jets), rtol=1e-5)


def test_an_angle_may_go_round(run, scorer, jets, tmp_path):
    """phi = 6.82 is the direction of 0.54: for readers, `score` and scorers alike."""
    there = jets[..., :1] > 0
    turned = jets + np.float32((0, 0, 2 * np.pi)) * there
    assert turned[..., 2].max() > 6.82
    stored(tmp_path / "turned.npz", x=turned, label=np.arange(N) % 5 == 0)
    np.testing.assert_array_equal(scores_of(run, tmp_path / "turned.npz"), scorer(turned))
    np.testing.assert_allclose(np.median(scorer(turned)), np.median(scorer(jets)), rtol=0.02)
    config = scorer.config.copy_and_resolve_references()
    config.data.update(source=str(tmp_path / "turned.npz"))
    assert len(data.load(config.data).train["x"]) > 0
    events, trigger = trigger_data(50), trigger_scorer("dense_ae")
    other = events + np.float32((0, 0, 2 * np.pi)) * (events[..., :1] > 0)
    np.testing.assert_allclose(trigger(other), trigger(events), rtol=1e-4)


def test_mass_weight_and_id_columns(tmp_path):
    rng = np.random.default_rng(0)
    x, mass = rng.normal(size=(N, 3)), rng.uniform(1e6, 5e6, N)
    weight, number = rng.random(N), np.arange(N) + 2**40
    arrays = {"x": x, "m": mass, "w": weight, "id": number, "label": np.arange(N) % 5 == 0}
    stored(tmp_path / "table.h5", **arrays)
    keys = {"mass_key": "m", "weight_key": "w", "id_key": "id", "label_key": "label"}
    config = data.get_config(
        "events", source=str(tmp_path / "table.h5"), format="features", units="MeV", **keys,
        signals="s=1",
    )  # fmt: skip
    dataset = data.load(config)
    rows = dataset.train
    assert rows["event"].dtype == np.int64 and rows["event"].min() >= 2**40
    order = rows["event"] - 2**40
    np.testing.assert_allclose(rows["weight"], weight[order], rtol=1e-6)
    np.testing.assert_allclose(rows["mass"], mass[order] / 1000, rtol=1e-6)  # GeV
    np.testing.assert_allclose(rows["x"], np.c_[mass, x][order], rtol=1e-6)  # as stored
    stage = inputs.stage(inputs.get_config("features"), dataset.layout, ("vector",), "pca")
    np.testing.assert_allclose(stage.mass(rows["x"]), mass[order] / 1e6, rtol=1e-5)  # TeV
    np.testing.assert_allclose(stage.values(rows["x"]), x[order], rtol=1e-5)
    with data.open_events(config, str(tmp_path / "table.h5")) as events:
        np.testing.assert_allclose(events[10:20], np.c_[mass, x][10:20], rtol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("module", [adc2021_vae, adc2021_shallow])
def test_trigger_configs_on_events_of_ones_own(module, tmp_path):
    """Train, evaluate, score, export; whether the number of objects is free, the input says."""
    x = trigger_data(N)
    stored(tmp_path / "own.h5", x=x, label=np.arange(N) % 5 == 0)
    config = module.get_config("smoke")
    settings = {"label_key": "label", "signals": "s=1", "cache": str(tmp_path)}
    config.data = data.get_config("events", source=str(tmp_path / "own.h5"), **settings)
    train(config, tmp_path / "run")
    scorer = load(tmp_path / "run")
    assert scorer.shape == (19, 3)
    metrics = evaluate.evaluate(tmp_path / "run", n_bootstrap=0)
    shapes = {"mass", "multiplicity", "girth", "pt_dispersion", "z_max"}
    two_sided = {f"|{name} - median|" for name in shapes}
    assert set(metrics["signals"]["s"]["baselines"]) == shapes | two_sided
    scores = scores_of(tmp_path / "run", tmp_path / "own.h5", scorer.names[0])
    np.testing.assert_array_equal(scores, scorer(x))
    out = tmp_path / "exported"
    command = [str(tmp_path / "run"), "--format", "stablehlo", "--fpr", "0.3", "--out", str(out)]
    assert export.main(command) == 0
    other = dataclasses.replace(scorer, layout=dataclasses.replace(scorer.layout, shape=(18, 3)))
    with pytest.raises(UserError, match=r"takes events \(19, 3\)"):
        other(x[:, :18])
