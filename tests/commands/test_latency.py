"""Latency of trained runs: the three forms agree with the scorer, and compare finds the file."""

import json

import numpy as np
import pytest

from jaxad import methods
from jaxad.commands import compare, latency
from jaxad.commands.train import build_scorer
from jaxad.configs import adc2021_shallow
from jaxad.data.dataset import Dataset
from jaxad.data.layout import Layout


@pytest.fixture
def run(tmp_path):
    x = np.abs(np.random.default_rng(0).normal(10, 3, (64, 19, 3))).astype(np.float32)
    x[..., 1:] = np.random.default_rng(1).uniform(-1, 1, (64, 19, 2))
    dataset = Dataset({"x": x}, {"x": x}, {"x": x}, {}, Layout("ptetaphi", (19, 3)))
    config = adc2021_shallow.get_config("smoke")
    config.method.update({"name": "gaussian_mixture", "n_components": 2})
    fitted = methods.get("gaussian_mixture").fit(config, dataset, None)
    scorer = build_scorer(config, "gaussian_mixture", fitted, dataset)
    scorer.save(tmp_path / "mixture" / "scorer")
    return tmp_path / "mixture", scorer, x


def test_every_form_gives_the_scorers_score(run):
    _, scorer, x = run
    forms = latency.runtimes(latency.single_score(scorer, "nll"), x[:1])
    assert {"jit", "aot"} <= set(forms)
    for form in forms.values():
        np.testing.assert_allclose(form(x[3:4]), scorer(x)[3:4], rtol=1e-4)


def test_command_writes_what_compare_reads(run, capsys):
    folder, _, _ = run
    twice = [str(folder), str(folder)]
    assert latency.main([*twice, "--out", str(folder / "out")]) == 0
    content = json.loads((folder / "eval" / "latency.json").read_text())
    forms = content["scores"]["nll"]
    for form in forms.values():
        assert 0 < form["single"]["p10"] <= form["single"]["median"] <= form["single"]["p99"]
    assert forms["jit"]["bulk"]["events_per_second"] > 0
    assert {"processor", "cores", "devices", "jax"} <= set(content["machine"])
    printed = capsys.readouterr().out
    assert (folder / "out" / "latency.txt").read_text() == printed
    assert "median [µs]" in printed and "mixture" in printed
    (folder / "eval" / "metrics.json").write_text('{"signals": {}}')
    assert compare.read_run(folder)["latency"] == content["scores"]


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    assert latency.main([str(tmp_path)]) == 2
    assert "no trained scorer here" in capsys.readouterr().err


def test_a_file_of_others_stays(run, capsys):
    folder, _, _ = run
    (folder / "latency.txt").write_text("mine")
    assert latency.main([str(folder), "--out", str(folder)]) == 2
    assert "latency.txt: is there, and jaxad did not write it" in capsys.readouterr().err
    assert (folder / "latency.txt").read_text() == "mine" and not (folder / "eval").exists()
    (folder / "eval").mkdir()
    (folder / "eval" / "latency.json").write_text('{"mine": 1}')
    assert latency.main([str(folder)]) == 2
    assert "latency.json: is there, and of no latencies" in capsys.readouterr().err
    assert (folder / "eval" / "latency.json").read_text() == '{"mine": 1}'
