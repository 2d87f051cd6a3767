"""Fixed-point projects of trigger autoencoders: their scores are those of the scorer."""

import dataclasses
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from random_scorers import calibrated, integer_scorer, mixture_scorer, trigger_data, trigger_scorer

from jaxad import data
from jaxad.commands.export import main
from jaxad.errors import UserError
from jaxad.export.hls import build, estimates, network
from jaxad.export.hls import writer as hls
from jaxad.export.verify import read_contract
from jaxad.scorer import Scorer

os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is first imported
for package in ("hls4ml", "keras", "da4ml"):
    pytest.importorskip(package)
compiles = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def single(name: str, loss: str) -> Scorer:
    """The first network of the trigger autoencoder `name`."""
    scorer = trigger_scorer(name, 10)
    scorer.config.method.loss = loss
    params = scorer.params | {
        part: jax.tree.map(lambda leaf: leaf[:1, :1], scorer.params[part])
        for part in ("params", "state")
        if part in scorer.params
    }
    return calibrated(dataclasses.replace(scorer, params=params), trigger_data(2000, seed=2))


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("exercise", "plain"),
        ("exercise", "masked"),
        ("challenge", "plain"),
        ("dense_ae", "masked"),
        ("dense_ae", "plain"),
        ("dense_vae", "masked_per_object"),
    ],
)
def test_the_network_gives_the_scorers_scores(name, loss):
    scorer, x = single(name, loss), trigger_data(300)
    host = network.preprocessing(scorer)
    model, types = network.keras_model(network.dense_layers(scorer, host), host, 48)
    found = hls.score(host, model.predict(hls.standardised(host, x), verbose=0))
    np.testing.assert_allclose(found, scorer(x), rtol=2e-4, atol=1e-4)
    assert all(found["weight"].width == 48 for found in types.values())


def test_types_hold_what_they_were_made_for():
    found = network.fixed(np.array([0.3, -5.0]), 8)
    assert found == (8, 4) and str(found) == "fixed<8,4,RND,SAT>"
    np.testing.assert_array_equal(
        found.rounded(np.array([5.03, -5.04, 9.0, -9.0])), [5.0, -5.0625, 7.9375, -8.0]
    )
    assert network.fixed(np.array([4.0]), 8, margin=1).integer == 5
    assert network.fixed(np.zeros(2), 18).integer == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An exported run on files of one's own."""
    folder = tmp_path_factory.mktemp("exported")
    np.savez(folder / "events.npz", x=trigger_data(3000, seed=3))
    scorer = single("exercise", "plain")
    settings = {"val_fraction": 0.4, "test_fraction": 0.4}
    scorer.config.data = data.get_config("events", source=str(folder / "events.npz"), **settings)
    scorer.save(folder / "run" / "scorer")
    command = ["--format", "hls", "--fpr", "0.02", "--out", str(folder / "out")]
    assert main([str(folder / "run"), *command]) == 0
    return folder


@compiles
@pytest.mark.slow
def test_scores_flags_and_verify(folder, capsys):
    about = read_contract(folder / "out")
    drift, estimates = about["hls"]["drift"], about["hls"]["estimates"]
    assert drift["events"] == 1200 and drift["median"] < 0.003 and drift["largest"] < 0.05
    assert drift["flags_changed"] <= 3
    assert estimates["lut"] > 1000 and estimates["ff"] > 1000 and estimates["stages"] > 1
    assert about["hls"]["bits"]["dense_1"].keys() == {"weight", "bias", "result"}
    texts = [path.read_bytes() for path in (folder / "out" / "hls").rglob("*") if path.is_file()]
    assert not any(str(folder).encode() in text for text in texts)
    assert main(["verify", str(folder / "out"), "--events", str(folder / "events.npz")]) == 0
    printed = capsys.readouterr().out
    assert "hls: agrees on 32 golden rows: score 0.0e+00" in printed
    assert "hls: agrees on 3000 events" in printed and "flags change" in printed


@compiles
@pytest.mark.long
def test_fewer_bits_cost_less_and_drift_further(folder, capsys):
    """The fixed points of rounding alone: their drift is told, and no reason to refuse."""
    command = [str(folder / "run"), "--format", "hls", "--fpr", "0.02", "--width", "8"]
    assert main([*command, "--out", str(folder / "eight")]) == 0
    wide, narrow = (read_contract(folder / name)["hls"] for name in ("out", "eight"))
    assert (wide["width"], narrow["width"]) == (18, 8)
    bits = {t[0] for layer in narrow["bits"].values() for t in layer.values()}
    assert bits == {8, 32} and narrow["estimates"]["lut"] < 0.5 * wide["estimates"]["lut"]
    assert narrow["drift"]["median"] > 0.01 > wide["drift"]["median"]
    assert main(["verify", str(folder / "eight"), "--events", str(folder / "events.npz")]) == 0
    assert "flags change" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("run", "more", "message"),
    [
        ("", ["--width", "3"], "--width: expected 4 to 18 bits, found 3"),
        ("", ["--width", "19"], "--width: expected 4 to 18 bits, found 19"),
        ("", ["--format", "stablehlo", "--width", "8"], "--width: is of --format hls"),
        ("mu2", ["--width", "8"], "--width: quantized has types of its own"),
    ],
)
def test_widths_that_cannot_be_are_refused(run, more, message, tmp_path, capsys):
    scorer = integer_scorer() if run else single("exercise", "plain")
    scorer.save(tmp_path / "run" / "scorer")
    command = [str(tmp_path / "run"), "--format", "hls", *more, "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@compiles
@pytest.mark.slow
@pytest.mark.parametrize("width", [18, *(pytest.param(n, marks=pytest.mark.long) for n in (4, 10))])
def test_estimates_are_of_what_is_emulated(width, tmp_path):
    scorer, x = single("exercise", "plain"), trigger_data(300)
    host = network.preprocessing(scorer) | {"outputs": 1}
    model, types = network.keras_model(network.dense_layers(scorer, host), host, width)
    (z,) = hls.standardised(host, x)
    results = network.output_types(model, [z], width)
    types = {name: types.get(name, {}) | results[name] for name in results}
    build.write(model, types, tmp_path / "hls", "net")
    found = estimates.logic(model, types).predict(np.float64(types["z"]["result"].rounded(z)))
    np.testing.assert_array_equal(
        np.float32(found[:, 0]), hls.emulated(tmp_path / "hls", host, "net")(x)
    )


@compiles
@pytest.mark.slow
def test_changed_sources_are_noticed(folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder / "out", copy)
    weights = copy / "hls" / "firmware" / "weights" / "b2.txt"
    weights = weights if weights.is_file() else next(weights.parent.glob("b*.txt"))
    weights.write_text(", ".join("1.0" for _ in weights.read_text().split(",")))
    assert main(["verify", str(copy)]) == 1
    assert "hls: FAILED on 32 golden rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scorer", "reason"),
    [
        (mixture_scorer(), "dense trigger autoencoders only"),
        (trigger_scorer("conv_vae", 10), "found trigger_autoencoder conv_vae"),
        (trigger_scorer("dense_ae", 10), "found 2 members of 2 epochs"),
        (single("dense_ae", "masked_per_object"), "masked_per_object divides"),
        (
            trigger_scorer("encoder", 10),
            "train the method quantized with method.teacher of this run",
        ),
    ],
)
def test_other_scorers_are_refused(scorer, reason):
    with pytest.raises(UserError, match=reason):
        hls.check(scorer)


def test_refusals_take_one_line_and_leave_nothing(tmp_path, capsys):
    trigger_scorer("conv_ae").save(tmp_path / "run" / "scorer")
    command = [str(tmp_path / "run"), "--format", "hls", "--fpr", "0.02"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: --format hls") and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jaxad\[hls\]'"):
        hls.check(single("dense_vae", "masked"))
