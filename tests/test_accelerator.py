"""The accelerator command runs, every section of it, on whatever device there is."""

import json
import os
import subprocess
import sys

import pytest
from documents import ROOT

from benchmarks.accelerator import report
from benchmarks.accelerator.cases import CASES
from jaxad import methods

# What a machine may lack, and then says so in a row.
MAY_BE_LEFT_OUT = ("PyTorch", "kernels of")


MEASURED = ("machine", "training", "profile", "peers", "scoring", "observables", "convolutions")
CHECKED = ("agreement", "determinism", "resume", "tests")
BITWISE = {"determinism", "resume"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "sections",
    [
        ("machine", "determinism"),
        pytest.param((*MEASURED, *CHECKED), marks=pytest.mark.long),
    ],
    ids=["some", "all"],
)
def test_every_section_runs_at_its_smallest(sections, tmp_path):
    command = [sys.executable, "-m", "benchmarks.accelerator", "--tiny", "--out", str(tmp_path)]
    command += [] if set(CHECKED) < set(sections) else ["--sections", ",".join(sections)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "results.json").read_text())
    rows = results["rows"]
    assert {row["section"] for row in rows} == set(sections)
    for row in rows:
        if row["value"] == "left out":
            assert row["what"].startswith(MAY_BE_LEFT_OUT)
        assert row["value"] not in ("failed", "error"), row
    bits = [row["value"] for row in rows if row["section"] in BITWISE]
    assert bits == ["same bits"] * len(BITWISE & set(sections))
    killed = any(row["note"].startswith("killed") for row in rows if row["section"] == "resume")
    assert killed == ("resume" in sections)
    agreement = [row for row in rows if row["section"] == "agreement"]
    assert all(row["note"].startswith("agrees") for row in agreement)
    table = (tmp_path / "results.md").read_text()
    assert all(row["what"] in table for row in rows)
    assert results["about"]["versions"].startswith("jax ")


def test_a_peer_stands_beside_the_same_work(tmp_path):
    report.append(tmp_path, report.Row("training", "network, batch 8", 300.0, "steps/s"))
    report.append(tmp_path, report.Row("peers", "network, batch 8", 100.0, "steps/s", peer="other"))
    report.append(tmp_path, report.Row("peers", "alone", 5.0, "steps/s", peer="other"))
    table = report.markdown(report.read(tmp_path), {"training": "Training", "peers": "Others"})
    assert "| network, batch 8 | 300 steps/s | other 100 (3.00x) |  |" in table
    assert "| alone (other) | 5 steps/s |  |  |" in table
    assert report.value_of(tmp_path, "alone") == 5.0


def test_every_method_is_resumed_and_compared():
    assert {case.method or case.name for case in CASES.values()} == set(methods.NAMES)
