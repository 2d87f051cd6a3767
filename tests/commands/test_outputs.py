"""Commands that train and simulate replace no file that they did not write."""

import numpy as np
import pytest
from random_scorers import trigger_data, trigger_scorer

from jaxad.commands import evaluate, scan, simulate, train
from jaxad.errors import UserError
from jaxad.scorer import load
from jaxad.simulation.produce import produce
from jaxad.tasks import make_tasks, seeded


def refused(capsys, main, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "config.json: is no config of a run"),
        ("scorer/thesis.tex", "holds something else, thesis.tex"),
        ("scorer/params.npz", "holds something else, params.npz"),
        ("history.jsonl", "expected one record a line"),
    ],
)
def test_a_work_directory_of_others_stays_as_it_is(tmp_path, monkeypatch, capsys, name, message):
    """Before anything is read or trained; also as the current folder."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"mine": 1}\n')
    monkeypatch.chdir(tmp_path)
    command = ["--config=adc2021_ae:smoke", "--config.data.source=none.h5"]
    with pytest.MonkeyPatch.context() as patch:
        # A mistake of `train` ends the process otherwise.
        patch.setattr("jaxad.commands.cli.os._exit", lambda code: None)
        refused(capsys, train.main, [*command, "--workdir=."], message)
    assert path.read_text() == '{"mine": 1}\n'


def test_a_scorer_is_saved_in_the_place_of_a_scorer_alone(tmp_path):
    scorer, x = trigger_scorer("dense_ae", 10), trigger_data(5)
    for _ in range(2):
        scorer.save(tmp_path / "scorer")
    np.testing.assert_array_equal(load(tmp_path / "scorer")(x), scorer(x))
    (tmp_path / "scorer" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"holds something else, thesis\.tex"):
        scorer.save(tmp_path / "scorer")
    assert (tmp_path / "scorer" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("name", ["metrics.json", "scores.h5", "report.html"])
def test_a_folder_eval_of_others_stays(tmp_path, capsys, name):
    trigger_scorer("dense_ae", 10).save(tmp_path / "scorer")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / name).write_text('{"signals": "mine"}')
    refused(capsys, evaluate.main, [f"--workdir={tmp_path}"], f"{name}: is there, and of no")
    assert (tmp_path / "eval" / name).read_text() == '{"signals": "mine"}'


def test_a_scan_of_others_stays(tmp_path, capsys):
    (tmp_path / "scan.json").write_text('{"mine": 1}')
    command = ["--config=cwola:smoke", f"--workdir={tmp_path}", "--scan=n_signal=10"]
    refused(capsys, scan.main, command, "scan.json: of no scan that jaxad made")
    assert list(contents(tmp_path).values()) == [b'{"mine": 1}']
    (tmp_path / "scan.json").rename(tmp_path / "scan.png")
    refused(capsys, scan.main, command, "of no scan that jaxad made")


@pytest.mark.parametrize(
    ("plot", "message"),
    [("mine.png", "mine.png: is there, and jaxad did not write it"), ("x.pdf", "NAME.png")],
)
def test_a_figure_of_others_stays_and_nothing_is_simulated(tmp_path, capsys, plot, message):
    (tmp_path / "mine.png").write_text("mine")
    command = ["toptagging", "--events", "1", "--out", str(tmp_path / "new")]
    refused(capsys, simulate.main, [*command, "--plot", str(tmp_path / plot)], message)
    assert (tmp_path / "mine.png").read_text() == "mine" and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toptagging", "--plot", "check.png"], "--real: expected lhco or lhco_signal to compare"),
        (["lhco"], "--real: is drawn beside the simulated events: give --plot"),
        (["lhco", "--plot", "check.png"], "--real: none.h5: no such file"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_simulation(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    command = [*arguments, "--events", "1", "--out", "new", "--real", "none.h5"]
    refused(capsys, simulate.main, command, message)
    assert not list(tmp_path.iterdir())


def test_a_scan_of_nothing_is_refused(tmp_path, capsys):
    command = ["--config=cwola:smoke", f"--workdir={tmp_path / 'new'}", "--scan=="]
    refused(capsys, scan.main, command, "--scan: expected SETTING=V1,V2,..., found no setting")
    assert not (tmp_path / "new").exists()


def generated(process, n, rng):
    return {"x": rng.random(n)}


def test_a_file_beside_the_parts_of_a_simulation_stays(tmp_path):
    """What a kill left does not make a file of the same name one of jaxad's."""
    pytest.importorskip("pythia8mc")

    def made(write=lambda path, name, parts: path.write_text("events")):
        tasks = make_tasks("a", "f.h5", 5, 2)
        return produce(tmp_path, {"name": "toy"}, ["f.h5"], tasks, seeded(generated, 0), write, 1)

    def killed(*_):
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            made(killed)
    assert made()[0].read_text() == "events"
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "f.h5").write_text("mine")
    (tmp_path / "parts-00000000").mkdir()
    with pytest.raises(UserError, match=r"already holds f\.h5, which jaxad did not make"):
        made()
    assert (tmp_path / "f.h5").read_text() == "mine"
    (tmp_path / "f.h5").unlink()
    (tmp_path / "simulation.json").write_text("mine")
    with pytest.raises(UserError, match="choose another folder"):
        made()
    assert (tmp_path / "simulation.json").read_text() == "mine"
