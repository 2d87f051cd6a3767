"""A run on files of the published layout: train, evaluate, thresholds for rates, a student."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from benchmarks import trigger_seeds
from benchmarks.front import points
from jaxad import methods, workdir
from jaxad.commands import evaluate
from jaxad.commands import train as run
from jaxad.configs import adc2021_ae, adc2021_decade, adc2021_shallow, adc2021_student
from jaxad.data import adc2021
from jaxad.errors import UserError
from jaxad.evaluation import general
from jaxad.methods.stages import trees
from jaxad.methods.stages.teacher import own_config
from jaxad.metrics.decorrelated import quantile_trees, threshold_of
from jaxad.scorer import Scorer, load


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for seed, stem in enumerate([adc2021.BACKGROUND, *adc2021.SIGNALS.values()]):
        rng = np.random.default_rng(seed)
        events = np.zeros((1000 if seed == 0 else 60, 19, 4), np.float32)
        events[..., 0] = rng.exponential(30 + 10 * seed, events.shape[:2])
        events[..., 1:3] = rng.uniform(-2, 2, (*events.shape[:2], 2))
        events[..., 3] = adc2021.CLASS
        events[:, 0, 1] = 0
        events[:, [3, 4, 6, 7, 8, 14, 15, 16, 17, 18]] = 0
        with h5py.File(folder / f"{stem}.h5", "w") as file:
            file["Particles"] = events
    return folder


@pytest.fixture(scope="module")
def forest(files, tmp_path_factory):
    config = adc2021_shallow.get_config("smoke")
    config.data.source = str(files)
    directory = tmp_path_factory.mktemp("forest")
    run.train(config, directory)
    return directory


def test_evaluation_holds_every_signal_baseline_rate_and_correlation(forest, capsys):
    evaluate.evaluate(forest, n_bootstrap=0)
    metrics = json.loads((forest / "eval" / "metrics.json").read_text())
    assert list(metrics["signals"]) == ["A4l", "LQ", "h0", "hch"]
    entry = metrics["signals"]["hch"]
    assert set(entry["baselines"]) == {"sum_pt", "met", "n_leptons"}
    assert entry["scores"]["isolation"]["tpr_at_fpr"]["1e-5"]["value"] is None
    point = metrics["rates"]["isolation"]
    assert "fewer than 10" in point["400"]["reason"]
    assert "fewer than 10" in point["400000"]["reason"]
    reason = metrics["left_out"]["thresholds that follow observables"]
    assert "FPR 1e-2 of 100 background events leaves 1, fewer than 10" in reason
    assert metrics["correlations"]["isolation"]["sum_pt"]["spearman"] > 0
    assert "accepted rate [kHz]" in capsys.readouterr().out
    assert "Thresholds of a trigger" in (forest / "eval" / "report.html").read_text()


def test_evaluation_follows_observables_where_events_are_many(forest, capsys):
    """With the FPR that 100 events allow; observables that are not there are named."""
    scorer = load(forest)
    config = scorer.config.copy_and_resolve_references()
    dataset = adc2021.load(config.data)
    classes = general.classes_of(dataset)
    table = general.scores_of({"method": scorer}, [], classes)
    config.trigger.fpr = 0.2
    found = general.following(config, table, classes)["following"]
    assert found["score"] == "isolation" and found["n_fitted"] == found["n_judged"] == 100
    assert list(found["following"]["signals"]) == ["A4l", "LQ", "h0", "hch"]
    config.trigger.observables = ("ht", "n_jets")
    with pytest.raises(UserError, match=r"trigger\.observables: 'n_jets' is no observable of"):
        general.following(config, table, classes)
    config.trigger.observables = ()
    assert general.following(config, table, classes) == {}


def test_threshold_that_follows_in_a_scorer(files, tmp_path):
    """Its score is that of its section `teacher`, less what the validation events' trees say."""
    config = adc2021_decade.get_config("smoke")
    config.teacher = {"method": adc2021_shallow.get_config("smoke").method}
    config.data.source, config.trigger.fpr = str(files), 0.1
    run.train(config, tmp_path)
    scorer, dataset = load(tmp_path), adc2021.load(config.data)
    scores = {part: scorer.scores(getattr(dataset, part)["x"]) for part in ("val", "test")}
    assert scorer.names == ["decade", "isolation"]
    names = config.trigger.observables
    val, test = ({n: rows[n] for n in names} for rows in (dataset.val, dataset.test))
    tau = threshold_of(scores["val"]["isolation"], val, 0.1)
    expected = scores["test"]["isolation"] - tau(test)
    np.testing.assert_allclose(scores["test"]["decade"], expected, atol=1e-5)
    assert np.ptp(tau(test)) > 0 and 0.01 < np.mean(scores["test"]["decade"] > 0) < 0.25


@pytest.mark.parametrize("variant", ["", "smoke"])
def test_the_shipped_threshold_has_events_for_a_split(variant):
    """Else it is a constant, which even the C++ header could hold."""
    config = adc2021_decade.get_config(variant)
    n = int(config.data.n_simulated * config.data.val_fraction)
    rng = np.random.default_rng(0)
    x = rng.exponential(size=(n, 4))
    models = quantile_trees(x[:, 0] + rng.normal(size=n), x, config.trigger.fpr)
    assert trees.as_arrays(models, np.ones((len(models), 4), bool))["depth"] > 0


def test_a_threshold_is_of_weighted_events_and_of_scores_as_scorers_give_them(files, capsys):
    """Events of high scores that hardly count do not move it up."""
    config = adc2021_decade.get_config("smoke")
    config.teacher = {"method": adc2021_shallow.get_config("smoke").method}
    config.data.source, config.trigger.fpr = str(files), 0.1
    dataset, scored = adc2021.load(config.data), []

    def scorer(*about):
        scored.append(Scorer(*about))
        return scored[-1]

    def decade(dataset):
        bench = run.bench(None)._replace(scorer=scorer)
        fitted = methods.get("decade").fit(config, dataset, bench)
        return methods.get("decade").scores(config, dataset.layout)(fitted, dataset.val["x"])

    plain = decade(dataset)
    assert [each.method for each in scored] == ["isolation_forest"]
    np.testing.assert_allclose(scored[0](dataset.val["x"]), plain["isolation"], rtol=1e-6)
    high = plain["isolation"] > np.median(plain["isolation"])
    weight = np.where(high, 1e-4, 1.0)
    weighted = decade(dataclasses.replace(dataset, val=dataset.val | {"weight": weight}))
    accepted = weighted["decade"] > 0
    assert not capsys.readouterr().out
    few = {name: rows[:120] for name, rows in dataset.val.items()}  # leaves of 100
    decade(dataclasses.replace(dataset, val=few))
    assert "note: decade: 120 validation events split nowhere" in capsys.readouterr().out
    assert 0.02 < np.average(accepted, weights=weight) < 0.25
    assert np.mean(plain["decade"] > 0) < 0.25 and accepted[high].mean() > 0.8


def test_a_threshold_follows_what_it_knows_of_trigger_events(files):
    config = adc2021_decade.get_config("smoke")
    decade = methods.get("decade")
    with pytest.raises(UserError, match=r"decade takes trigger events, .* found \(19, 3\) of 'f'"):
        decade.scores(config, dataclasses.replace(adc2021.LAYOUT, format="f"))
    for names, found in ((("ht", "n_jets"), "ht, n_jets"), ((), "none")):
        config.trigger.observables = names
        with pytest.raises(UserError, match=rf"trigger\.observables: expected .* found {found}"):
            decade.scores(config, adc2021.LAYOUT)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda c: c.__delattr__("teacher"), r"^teacher: decade needs this section, with method:"),
        (lambda c: c.__delattr__("trigger"), r"^trigger: .* with observables and fpr: start from"),
        (lambda c: c.teacher.method.update(name="decade"), r"^teacher\.method\.name: .* another"),
    ],
)
def test_a_threshold_needs_its_sections_and_another_method(change, refusal):
    config = adc2021_decade.get_config("smoke")
    change(config)
    with pytest.raises(UserError, match=refusal):
        methods.get("decade").scores(config, adc2021.LAYOUT)


def test_a_teacher_that_is_a_student_has_the_teacher_that_it_brings():
    """And not itself, without end."""
    config = adc2021_decade.get_config("smoke")
    config.teacher = {"method": adc2021_student.get_config("smoke").method}
    assert "teacher" not in own_config(config)
    config.teacher.teacher = {"method": {"name": "isolation_forest"}}
    assert own_config(own_config(config)).method.name == "isolation_forest"


def test_student_of_the_forest(forest, files, tmp_path):
    config = adc2021_student.get_config()
    config.data.source = str(files)
    with pytest.raises(UserError, match=r"method\.teacher: expected the work directory"):
        run.train(config, tmp_path / "none")
    config = adc2021_student.get_config("smoke")
    config.data.source = str(files)
    config.method.teacher = str(forest)
    run.train(config, tmp_path / "student")
    assert (tmp_path / "student" / "scorer" / "params.npz").is_file()


def test_student_without_a_teacher_trains_one_in_its_smoke_variant(files, tmp_path):
    config = adc2021_student.get_config("smoke")
    config.data.source = str(files)
    run.train(config, tmp_path / "run")
    stages = {record["stage"] for record in workdir.read_history(tmp_path / "run")}
    assert stages == {"autoencoder", "student"}
    assert list(load(tmp_path / "run").names) == ["student"]


@pytest.mark.long
def test_students_of_all_seeds_learn_from_one_teacher(files, tmp_path, monkeypatch):
    monkeypatch.setattr(trigger_seeds, "N_DEMO", 5)
    config = trigger_seeds.configured("student", 0, 2, str(files), 240, tmp_path)
    trigger_seeds.make(tmp_path, adc2021.load(config.data), str(files), 2, ["conv_ae", "student"])
    students = json.loads((tmp_path / "student.json").read_text())
    first, second = (member["student"]["A4l"]["auc"][0] for member in students)
    assert 0 < first < 1 and first != second
    assert "| student: student | " in (tmp_path / "seeds.md").read_text()


def test_efficiencies_without_an_event_have_an_error():
    background = np.arange(10_000.0)
    found = trigger_seeds.measured(np.zeros(8000), background)
    assert found["0.01"] == [0.0, pytest.approx(0.5 / 8001)]
    found = trigger_seeds.measured(np.full(8000, 9_950.0), background)
    assert found["0.001"] == [0.0, pytest.approx(0.5 / 8001)] and found["0.01"][0] == 1.0
    assert "0.0001" not in found


@pytest.mark.parametrize(
    ("change", "what"),
    [("config", "settings"), ("train", "events"), ("test", "events"), ("seeds", "seeds")],
)
def test_numbers_of_other_runs_are_not_taken(change, what, files, tmp_path, monkeypatch):
    dataset = adc2021.load(trigger_seeds.configured("rbm", 0, 1, str(files), 240, tmp_path).data)
    points.settle(tmp_path, trigger_seeds.settings(dataset, 2))
    points.settle(tmp_path, trigger_seeds.settings(dataset, 2))
    if change == "config":
        monkeypatch.setitem(
            trigger_seeds.METHODS, "ae", (adc2021_ae, {"train.learning_rate": 1e-4})
        )
    elif change != "seeds":
        rows = getattr(dataset, change)
        dataset = dataclasses.replace(dataset, **{change: rows | {"x": rows["x"][::-1]}})
    with pytest.raises(UserError, match=f"holds points of other {what}: choose another --out"):
        points.settle(tmp_path, trigger_seeds.settings(dataset, 2 + (change == "seeds")))
