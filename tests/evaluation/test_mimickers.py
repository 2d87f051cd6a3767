"""A mimicker trained and evaluated as its user does it: numbers, tables, figures, side by side."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from random_jets import jets_of_600_gev, write
from random_scorers import mixture_scorer

from jaxad.commands import compare, evaluate
from jaxad.commands import train as run
from jaxad.configs import interpretable_ae, interpretable_hln
from jaxad.data import load as load_data
from jaxad.data.jets import BACKGROUND, SIGNALS
from jaxad.errors import UserError
from jaxad.evaluation import mimickers as explain
from jaxad.observables.ordering import decision_ordering
from jaxad.report.mimickers import graphs_figure
from jaxad.report.tables import metrics_table
from jaxad.scorer import load

FILES = ((BACKGROUND, 90, 12), (SIGNALS["top_174"], 20, 16), (SIGNALS["W_59"], 20, 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Work directory of an HLN that explains a PCA, trained and evaluated on few random jets."""
    folder = tmp_path_factory.mktemp("jets")
    rng = np.random.default_rng(0)
    for seed, (name, n_jets, n_particles) in enumerate(FILES):
        jets = jets_of_600_gev(seed, n_jets, n_particles)
        write(folder / name, jets * rng.uniform(0.93, 1.07, (n_jets, 1, 1)))
    config = interpretable_hln.get_config("smoke")
    config.data.update({"source": str(folder), "cache": str(folder / "cache")})
    config.data.n_constituents = 16
    config.train.ensemble, config.method.passes = 2, 1
    teacher = interpretable_ae.get_config("smoke")
    teacher.update({"data": config.data, "method": {"name": "pca"}, "baselines": ["mass"]})
    teacher.inputs.n_pixels = 10
    run.train(teacher, folder / "pca")
    config.method.teacher = str(folder / "pca")
    run.train(config, folder / "hln")
    evaluate.evaluate(folder / "hln", n_bootstrap=5)
    return folder / "hln"


@pytest.fixture(scope="module")
def found(folder) -> dict:
    return json.loads((folder / "eval" / "metrics.json").read_text())


@pytest.mark.parametrize("method", [{"name": "pca"}, {"name": "student", "teacher": ""}])
def test_a_run_without_a_teacher_has_none_as_its_baseline(method):
    scorer = replace(mixture_scorer(), method=method["name"], config=ConfigDict({"method": method}))
    with pytest.raises(UserError, match=f"baselines: teacher: {method['name']} keeps none"):
        explain.teacher(scorer)


def test_every_pass_has_its_numbers(folder, found):
    scorer = load(folder)
    dataset = load_data(scorer.config.data)
    teacher = explain.teacher(scorer)
    assert [entry["k"] for entry in found["selection"]] == [0, 1]
    assert found["selection"][0]["observable"] == "mass, pt"
    assert found["selection"][1]["observable"].startswith("efp_")
    last = found["selection"][-1]
    assert last["formula"].startswith(r"\sum")
    assert 0 < last["ado"] < 1 and last["ado_err"] > 0 and len(last["ado_members"]) == 2
    members = scorer.member_scores(dataset.test["x"])["hln"]
    expected = decision_ordering(teacher(dataset.test["x"]), members.T)
    np.testing.assert_allclose(last["ado_members"], expected, atol=2e-3)
    for name in ("top_174", "W_59"):
        assert last["signals"][name]["auc"] == pytest.approx(
            found["signals"][name]["scores"]["hln"]["auc"], abs=5e-3
        )
        assert found["teacher"][name]["auc"] == pytest.approx(
            found["signals"][name]["baselines"]["teacher"]["auc"], abs=1e-6
        )


def test_tables_and_figures(folder, found):
    table = metrics_table(found)
    assert "ADO" in table and "teacher" in table
    assert found["selection"][1]["observable"] in table
    for name in ("selection", "graphs", "ordering", "sic", "training", "roc_W_59"):
        assert (folder / "eval" / f"{name}.png").stat().st_size > 5000
    assert "Observables, one by one" in (folder / "eval" / "report.html").read_text()
    assert graphs_figure(found["selection"][1:]).axes


def test_two_mimickers_side_by_side(folder, capsys, tmp_path):
    other = folder.with_name("pnn")
    (other / "eval").mkdir(parents=True)
    (other / "eval" / "metrics.json").write_text((folder / "eval" / "metrics.json").read_text())
    compare.compare([folder, other], tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("(teacher)") >= 2 and "pnn" in printed
