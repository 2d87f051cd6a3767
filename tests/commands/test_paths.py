"""A ~ in whatever path a command or a setting takes is the user's home."""

import h5py
import numpy as np
import pytest
from random_scorers import trigger_data, trigger_scorer

import jaxad
from jaxad import data
from jaxad.__main__ import main
from jaxad.commands import score
from jaxad.errors import UserError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a plain file in it; the current folder is another one."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "home" / "file").write_text("mine")
    (tmp_path / "home" / "full").mkdir()
    (tmp_path / "home" / "full" / "val.h5").write_text("mine")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert not list((tmp_path / "here").iterdir())


CONFIG = "--config=adc2021_shallow:smoke"
COMMANDS = {
    "train --config": (["train", "--config=~/none.py", "--workdir=~/file"], "none.py"),
    "evaluate": (["evaluate", "--workdir=~/none"], "none"),
    "scan": (["scan", CONFIG, "--workdir=~/file", "--scan=seed=1"], "file"),
    "score RUN": (["score", "~/none", "~/a.h5", "--out", "~/s.h5"], "none"),
    "score --out": (["score", "~/none", "~/file", "--out", "~/file"], "file is also an input"),
    "compare": (["compare", "~/none"], "none"),
    "latency": (["latency", "~/none"], "none"),
    "export RUN": (["export", "~/none", "--out", "~/o"], "none"),
    "export verify": (["export", "verify", "~/none"], "none"),
    "simulate": (["simulate", "toptagging", "--out", "~/full", "--events", "5"], "full"),
    "data cluster": (["data", "cluster", "~/none.h5", "--out", "~/o"], "none.h5"),
    "data fetch": (["data", "fetch", "lhco", "--folder", "~/file"], "file"),
    "data show": (["data", "show", CONFIG, "--config.data.source=~/none.h5"], "none.h5"),
    "cache": (["data", "show", CONFIG, "--config.data.cache=~/file"], "file"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_look_in_the_home(home, capsys, name):
    arguments, looked_for = COMMANDS[name]
    try:
        code = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    message = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and f"{home}/{looked_for}" in message, message


def test_settings_look_in_the_home(home):
    np.save(home / "a[1].npy", np.random.default_rng(0).random((40, 3)))
    config = data.get_config(
        "events", source="~/a[1].npy", format="features", signals="s=~/a[[]1].npy"
    )
    with pytest.raises(UserError, match="is also the background"):
        data.load(config)
    config.signals = "s=~/none.npy"
    with pytest.raises(UserError, match=f"{home}/none.npy: no such file"):
        data.load(config)
    with pytest.raises(UserError, match=f"{home}/none: no trained scorer"):
        jaxad.load("~/none")  # what method.teacher names is loaded so


def test_scores_of_files_in_the_home(home):
    scorer, x = trigger_scorer("dense_ae"), trigger_data(30)
    scorer.save(home / "run" / "scorer")
    np.save(home / "a[1].npy", x)
    assert score.main(["~/run", "~/a[1].npy", "--out", "~/s.h5"]) == 0
    with h5py.File(home / "s.h5") as file:
        np.testing.assert_allclose(file["mse"][:], scorer(x), rtol=1e-5)
