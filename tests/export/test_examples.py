"""The scripts of examples/ do what they say."""

import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from random_scorers import calibrated, jet_scorer, jets, trigger_data, trigger_scorer

from jaxad.export import cpp, onnx
from jaxad.export.contract import contract

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_cpp_program_scores_lines_of_numbers(tmp_path):
    scorer, x = trigger_scorer("dense_vae"), trigger_data(20)
    about = contract(scorer, "run", 0.02)
    text = cpp.header(lambda raw: scorer.fn(scorer.params, raw), scorer.shape, about)
    (tmp_path / "scorer.hpp").write_text(text)
    command = ["g++", "-Wall", "-Werror", f"-DSCORER={about['namespace']}", f"-I{tmp_path}"]
    program = str(tmp_path / "trigger")
    subprocess.run([*command, str(EXAMPLES / "trigger.cpp"), "-o", program], check=True)
    lines = "\n".join(" ".join(f"{v:.9g}" for v in event.ravel()) for event in x)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    found = [line.split() for line in done.stdout.splitlines()]
    scores = scorer(x)
    np.testing.assert_allclose([float(score) for score, *_ in found], scores, rtol=1e-4)
    kept = ["keep" if s >= about["threshold"] else "drop" for s in scores]
    assert [flag for *_, flag in found] == kept


def test_script_scores_inside_a_jit(tmp_path):
    trigger_scorer("dense_vae").save(tmp_path / "run" / "scorer")
    np.save(tmp_path / "events.npy", trigger_data(50))
    script, root = EXAMPLES / "score_in_your_jit.py", str(EXAMPLES.parent)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run"), str(tmp_path / "events.npy")],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("accepted") == 3


def test_script_scores_with_nothing_but_onnx_runtime(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    scorer, x = trigger_scorer("dense_vae"), trigger_data(20)
    about = contract(scorer, "run", 0.02)
    content = onnx.model(lambda raw: scorer.fn(scorer.params, raw), scorer.shape, about)
    (tmp_path / "scorer.onnx").write_bytes(content)
    np.save(tmp_path / "events.npy", x)
    script = str(EXAMPLES / "score_with_onnxruntime.py")
    # Isolated: nothing of jaxad is found.
    command = [sys.executable, "-I", script, "scorer.onnx", "events.npy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    *found, last = [line.split() for line in done.stdout.splitlines()]
    scores = scorer(x)
    np.testing.assert_allclose([float(score) for score, *_ in found], scores, rtol=1e-4)
    assert [f for *_, f in found] == np.where(scores >= about["threshold"], "keep", "drop").tolist()
    assert float(last[1].rstrip(",")) == about["threshold"]


def test_coffea_processor_scores_awkward_events(tmp_path):
    ak = pytest.importorskip("awkward")
    scorer = jet_scorer()
    x = jets(60, 12)
    calibrated(scorer, jets(2000, 12)).save(tmp_path / "run" / "scorer")
    there = x[..., 0] > 0
    columns = {
        name: ak.drop_none(ak.mask(ak.Array(x[..., k]), there))
        for k, name in enumerate(("E", "px", "py", "pz"))
    }
    events = ak.Array({"run": np.arange(60), "Jet": ak.zip(columns)})
    spec = spec_from_file_location("coffea_scores", EXAMPLES / "coffea_scores.py")
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    found = example.AnomalyScores(str(tmp_path / "run"), 0.02).process(events)
    assert found.fields == ["run", "Jet", "anomaly"]
    np.testing.assert_allclose(found.anomaly, scorer(x), rtol=1e-3)
