"""`jaxad rates`: files of scores in; rates, pairs, stability and figures out."""

import json

import h5py
import numpy as np
import pytest

from jaxad.commands import rates as command
from jaxad.commands.evaluate import write_scores
from jaxad.metrics import rates


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two detectors of the same events, as `score` and `evaluate` write them, and columns."""
    folder, rng, n = tmp_path_factory.mktemp("rates"), np.random.default_rng(0), 20_000
    a, c = (rng.geometric(p, n) for p in (0.02, 0.05))
    with h5py.File(folder / "a.h5", "w") as file:
        file["mu2"] = (a / 16).astype(np.float32)
        file["file"], file["row"] = np.zeros(n, np.int32), np.arange(n)
    table = {"qcd": {"mse": np.float32(30_000 * a)[None], "other": np.float32(a)[None]}}
    write_scores(folder / "wide.h5", table, {"qcd": {}}, {"mse": 4})
    with h5py.File(folder / "eval.h5", "w") as file:
        file["qcd/student"] = np.stack([c, c]).astype(np.float32)
        file["qcd/observables/ht"] = rng.exponential(50, n)
    run = np.repeat([1, 2], n // 2)
    np.savez(folder / "menu.npz", L1bit=rng.random(n) < 0.1, run=run, short=run[1:])
    np.savez(folder / "few.npz", a=np.arange(9))
    return folder, a, c


def test_two_detectors_and_their_stability(files, tmp_path, capsys, monkeypatch):
    folder, a, c = files
    monkeypatch.chdir(folder)
    both = ["a.h5", "eval.h5:qcd/student", "--scale", "16,1", "--bunches", "2340"]
    more = ["--rates", "1e6,3e5", "--l1", "menu.npz:L1bit", "--period", "menu.npz:run"]
    out = tmp_path / "out"
    assert command.main([*both, *more, "--out", str(out)]) == 0
    found = json.loads((out / "rates.json").read_text())
    total = rates.zero_bias_rate(2340)
    point = found["detectors"][0]["points"][0]
    assert point["n"] == np.sum(a >= point["threshold"]) and point["rate"] <= 1e6
    pair = found["pairs"][0]
    passed = (a >= pair["threshold_a"]) | (c >= pair["threshold_c"])
    assert pair["total"]["rate"] == pytest.approx(passed.mean() * total)
    assert pair["total"]["rate"] <= 1e6
    assert found["stability"]["recalibrated"]["before"]["value"] < 0.5
    lines = (out / "thresholds.csv").read_text().splitlines()
    assert lines[0] == "score,threshold,n,fraction,error,rate,rate_error"
    assert lines[1].startswith("a.h5,1,20000,1,")
    said = capsys.readouterr().out
    assert "20,000 events, 2.631e+07 Hz of input" in said and "pure" in said
    names = {path.name for path in out.iterdir()} - {".jaxad.json"}
    drawn = {"rates_a.png", "rates_c.png", "plane.png", "stability_run.png"}
    assert names == drawn | {"rates.json", "rates.txt", "thresholds.csv"}
    (out / "rates.txt").write_text("mine")
    assert command.main([*both, *more, "--out", str(out)]) == 2
    assert "rates.txt: is there, and jaxad did not write it" in capsys.readouterr().err


def test_fractions_without_an_input_rate_and_columns_beside_the_score(
    files, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(files[0])
    flags = ["--rates", "0.05,1e-4", "--period", "ht", "--against", "ht", "--out", str(tmp_path)]
    assert command.main(["eval.h5:qcd/student", *flags]) == 0
    said = capsys.readouterr().out
    assert "fractions of them alone: no --bunches, no --input-rate" in said and "Hz" not in said
    assert "fraction 1e-4 of 20000 events leaves 2, fewer than 10" in said
    point = json.loads((tmp_path / "rates.json").read_text())["detectors"][0]["points"][0]
    assert "rate" not in point and point["fraction"] <= 0.05


def test_integers_of_firmware_say_what_makes_them_integers(files, tmp_path, capsys, monkeypatch):
    """By the attribute of their file, wider ones too; --scale has the last word."""
    folder, a, _ = files
    monkeypatch.chdir(folder)
    assert command.main(["wide.h5:qcd/mse", "--rates", "0.1", "--out", str(tmp_path)]) == 0
    point = json.loads((tmp_path / "rates.json").read_text())["detectors"][0]["points"][0]
    wide = 480_000 * a
    assert point["n"] == np.sum(wide >= point["threshold"]) > 0.08 * len(a)
    lines = (tmp_path / "thresholds.csv").read_text().splitlines()[1:]
    assert [int(line.split(",")[1]) for line in lines] == sorted(set(np.sort(wide)[:-9].tolist()))
    said = capsys.readouterr().out
    assert (
        "note: wide.h5:qcd/mse: is in single precision, which rounds integers above 16,777,216"
        in said
    )
    how = ["--rates", "0.1", "--out", str(tmp_path)]
    for more in (["wide.h5:qcd/mse", "--scale", "1"], ["wide.h5:qcd/other"]):
        assert command.main([*more, *how]) == 0
        found = json.loads((tmp_path / "rates.json").read_text())["detectors"][0]["points"][0]
        assert found["n"] == point["n"] and found["threshold"] < point["threshold"]
        assert "note" not in capsys.readouterr().out


def test_no_number_under_ten_events_is_printed(files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a, c = rng.exponential(100, (2, 20_000)).astype(int)
    np.savez("two.npz", a=a, c=c)
    assert command.main(["two.npz:a", "two.npz:c", "--rates", "0.004", "--out", "out"]) == 0
    pair = json.loads((tmp_path / "out" / "rates.json").read_text())["pairs"][0]
    assert pair["overlap"]["n"] < 10 <= pair["unique_a"]["n"]
    said = capsys.readouterr().out.splitlines()
    row = next(line for line in said if line.startswith("0.004"))
    assert " - " in row and "-: fewer than 10 events" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.h5:mu2", "--rates", "1e-2"], "none.h5: no such file"),
        (["few.npz", "--rates", "1e-2"], "few.npz: expected 10 events or more, found 9"),
        (["menu.npz", "--rates", "1e-2"], "expected FILE:SCORE, found no name: it holds L1bit"),
        (["a.h5:mu", "--rates", "1e-2"], "a.h5: no dataset 'mu'"),
        (["a.h5:mu2", "--rates", "1e-2"], "give by --scale the factor that makes them integers"),
        (["a.h5:mu2", "--rates", "ten"], "--rates: expected numbers such as 1000,5000"),
        (["a.h5:mu2", "--rates", "1000"], "expected numbers below 1, as fractions, without"),
        (["a.h5:mu2", "--rates", "9e9", "--bunches", "9"], "below the input rate 101210 Hz"),
        (["a.h5", "--scale", "1,2", "--rates", ".1"], "a number above 0, or one for each score"),
        (["a.h5", "--scale", "16", "--rates", ".1", "--fixed", "1"], "--fixed: needs the periods"),
        (["a.h5", "--scale", "16", "--rates", ".1", "--l1", "row"], "--l1: is of two detectors"),
        (["a.h5", "--scale", "16", "--rates", ".1", "--split", ".3"], "--split: is of two"),
        (
            ["a.h5", "--scale", "16", "--rates", "1", "--bunches", "0"],
            "bunches: expected 1 to 3564",
        ),
        (
            [
                *("a.h5", "--scale", "16", "--rates", ".1", "--period", "menu.npz:run"),
                *("--against", "row", "a.h5:row"),
            ],
            "--against: expected columns of different names",
        ),
        (
            ["a.h5", "--scale", "16", "--rates", ".1", "--period", "menu.npz:short"],
            "--period: menu.npz:short: expected the 20,000 events of the scores, found 19,999",
        ),
        (
            ["a.h5", "--rates", "1", "--bunches", "9", "--input-rate", "9"],
            "--bunches: gives the input rate, found --input-rate too",
        ),
    ],
)
def test_mistakes_end_in_one_line(files, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(files[0])
    assert command.main([*arguments, "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists()
