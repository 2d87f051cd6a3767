"""The tutorial of docs/search.md, from a CSV file to a p-value, at a small size."""

import json
import re
import shlex
from pathlib import Path

import pytest

from jaxad.__main__ import main

DOCS = Path(__file__).parents[2] / "docs" / "search.md"


@pytest.mark.long
@pytest.mark.parametrize("blind_first", [False, True])
def test_from_a_csv_file_to_a_p_value(blind_first, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```sh\n(jaxad simulate.*?)```", DOCS.read_text(encoding="utf-8"), re.S)[1]
    simulate, search = (shlex.split(line) for line in block.replace("\\\n", " ").splitlines())
    assert main([*simulate[1:-1], "6000"]) == 0
    quick = [word.replace("--config=search", "--config=search:smoke") for word in search[1:]]
    quick = [word for word in quick if not word.startswith("--config.classifier.name")]
    quick += ["--config.classifier.name=discriminant", "--quick"]
    if blind_first:
        assert main(quick) == 0
        assert "observed counts are blinded" in capsys.readouterr().out
    assert main([*quick, "--unblind"]) == 0
    assert "cannot claim: 40 pseudo-experiments" in capsys.readouterr().out
    found = json.loads((tmp_path / "runs/table/search/search.json").read_text(encoding="utf-8"))
    (window,) = found["windows"]
    assert window["name"] == "3300-3700"
    assert 0 < found["global"]["p"] <= 1
    assert found["features"] == ["x1", "x2", "x3", "x4"]
    for cut, one in window["cuts"].items():
        assert 0 <= one["n"] <= window["n_data"]
        assert one["b"] > 0.3 * float(cut) * window["n_data"]
        assert one["p_local"]["n_toys"] == 40
