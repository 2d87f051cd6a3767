"""Exported folders with ONNX models, in float and in int8."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from random_scorers import trigger_data, trigger_scorer

from jaxad import data
from jaxad.commands.export import main
from jaxad.data.dataset import Dataset
from jaxad.errors import UserError
from jaxad.export import onnx as onnx_format
from jaxad.export.contract import contract
from jaxad.export.onnx import quantize
from jaxad.export.onnx.quantize import MAX_SHIFT, _calibration, linear_layers, quantized, tail_shift
from jaxad.export.verify import read_contract

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run on files of one's own, its ONNX model, and that in int8."""
    folder = tmp_path_factory.mktemp("exported")
    signal = trigger_data(300, seed=4)
    signal[..., 0] *= 2
    x = np.concatenate([trigger_data(6000, seed=3), signal])
    np.savez(folder / "events.npz", x=x, label=np.repeat([0, 1], [6000, 300]))
    scorer = trigger_scorer("dense_ae")
    settings = {"val_fraction": 0.4, "test_fraction": 0.4, "label_key": "label", "signals": "hot=1"}
    scorer.config.data = data.get_config("events", source=str(folder / "events.npz"), **settings)
    scorer.save(folder / "run" / "scorer")
    command = ["--format", "onnx", "--fpr", "0.02", "--out", str(folder / "float")]
    assert main([str(folder / "run"), *command]) == 0
    assert main(["quantize", str(folder / "float"), "--out", str(folder / "int8")]) == 0
    return folder


def test_verify_replays_golden_rows_and_a_file(folder, capsys):
    for name in ("float", "int8"):
        assert main(["verify", str(folder / name), "--events", str(folder / "events.npz")]) == 0
        printed = capsys.readouterr().out
        assert "onnx: agrees on 32 golden rows" in printed
        assert "onnx: agrees on 6300 events" in printed and "FAILED" not in printed


def test_contract_is_inside_the_model(folder):
    for name in ("float", "int8"):
        about = read_contract(folder / name)
        stored = {
            prop.key: json.loads(prop.value)
            for prop in onnx.load(folder / name / "scorer.onnx").metadata_props
        }
        for key in ("format_version", "threshold", "fpr", "input", "versions", "run_id"):
            assert stored[key] == about[key]


def test_int8_has_a_name_of_its_own(folder):
    names = [onnx.load(folder / name / "scorer.onnx").graph.name for name in ("float", "int8")]
    assert names == [read_contract(folder / name)["namespace"] for name in ("float", "int8")]
    assert names[1] == names[0] + "_int8"


def test_triton_finds_a_repository(folder):
    command = ["--format", "triton", "--fpr", "0.02", "--out", str(folder / "triton")]
    assert main([str(folder / "run"), *command]) == 0
    name = read_contract(folder / "triton")["namespace"]
    assert name.startswith("jaxad_run_")
    repository = folder / "triton" / "triton" / name
    model = onnx.load(repository / "1" / "model.onnx")
    text = (repository / "config.pbtxt").read_text()
    assert f'name: "{name}"' in text and "dims: [ 19, 3 ]" in text and "dims: [ 3 ]" in text
    assert text.count("{") == text.count("}")
    assert {tensor.name for tensor in (*model.graph.input, *model.graph.output)} >= {
        "raw",
        "packed",
    }


def test_int8_keeps_the_tail(folder):
    before, after = (read_contract(folder / name) for name in ("float", "int8"))
    found = after["quantization"]
    assert len(found["layers"]) > 1 and 0 < found["drift"]["largest"] < 0.1
    assert 0 < found["drift"]["tail_shift"] <= MAX_SHIFT
    assert abs(found["validation_fpr"]["int8"] - 0.02) < 0.012
    efficiency = found["tpr_at_target"]["hot"]
    assert abs(efficiency["int8"] - efficiency["float"]) < 0.05
    assert after["threshold"] != before["threshold"]
    assert after["artefacts"]["onnx"]["bytes"] < before["artefacts"]["onnx"]["bytes"]


def test_a_shift_is_that_of_the_tail_over_its_width():
    scores = np.arange(1000.0)
    assert tail_shift(scores + 5, scores) == pytest.approx(5 / 50, rel=0.02)
    assert tail_shift(np.where(scores < 900, 0, scores), scores) == 0
    assert tail_shift(scores, np.minimum(scores, 850)) == np.inf
    assert tail_shift(np.full(1000, np.nan), scores) == np.inf


@pytest.mark.parametrize(("limit", "n"), [(1e9, 5), (0.0, 0)])
def test_layers_that_shift_the_tail_stay_float(folder, limit, n, monkeypatch):
    """Of five linear layers before the last, all where any shift is allowed; none: refused."""
    monkeypatch.setattr(quantize, "MAX_SHIFT", limit)
    out = folder / f"limited-{n}"
    assert main(["quantize", str(folder / "float"), "--out", str(out)]) == (0 if n else 2)
    if n:
        assert len(read_contract(out)["quantization"]["layers"]) == n
    assert out.exists() == (n > 0)


def test_the_layers_that_shift_the_tail_least_are_chosen(folder, monkeypatch):
    model = (folder / "float" / "scorer.onnx").read_bytes()
    events = trigger_data(1000, seed=5)
    scores = onnx_format.loaded(model)(events)[:, 0]
    calibration = _calibration(events, scores)

    def shift(layers):
        changed = quantize._quantized(model, layers, calibration).SerializeToString()
        return tail_shift(onnx_format.loaded(changed)(events)[:, 0], scores)

    layers = linear_layers(onnx.load_from_string(model).graph)
    alone = {layer: shift([layer]) for layer in layers}
    in_order = sorted(layers, key=alone.get)
    limit = 1.01 * np.sqrt(sum(alone[layer] ** 2 for layer in in_order[:3]))
    monkeypatch.setattr(quantize, "MAX_SHIFT", limit)
    chosen = quantize._chosen(model, calibration, events, scores)
    assert 1 <= len(chosen) <= 3 and chosen == in_order[: len(chosen)]
    assert len(chosen) == 1 or shift(chosen) <= limit
    assert len(chosen) == 3 or shift(in_order[: len(chosen) + 1]) > limit


def test_only_the_last_linear_layers_stay_float(folder):
    graphs = [onnx.load(folder / name / "scorer.onnx").graph for name in ("float", "int8")]
    total = sum(node.op_type == "MatMul" for node in graphs[0].node)
    chosen = linear_layers(graphs[0])
    assert len(chosen) == total - 1
    scaled = {
        tensor.name
        for tensor in graphs[1].initializer
        if tensor.data_type == onnx.TensorProto.UINT8
    }
    stored = [n for n in graphs[1].node if n.op_type == "DequantizeLinear" and n.input[0] in scaled]
    assert len(stored) == len(chosen)


def test_calibration_looks_at_the_tail():
    events = np.arange(9000.0)
    chosen = _calibration(events, np.sin(events))
    assert len(chosen) == 2000 == len(set(chosen))
    tail = np.isin(events[np.argsort(np.sin(events))[-500:]], chosen)
    assert tail.all()
    assert len(_calibration(events[:100], events[:100])) == 100


def test_a_spoilt_rate_is_refused(folder):
    scorer = trigger_scorer("dense_ae")
    about = contract(scorer, "run", 0.02) | {"score": {"name": "mse", "spread": 1.0}}
    shape = (19, 3)
    model = onnx_format.model(lambda raw: scorer.fn(scorer.params, raw), shape, about)
    other = trigger_data(1000, seed=9)
    other[..., 0] *= 2
    val, test = {"x": trigger_data(2000, seed=8)}, {"x": other}
    dataset = Dataset(train={}, val=val, test=test, signals={}, layout=scorer.layout)
    with pytest.raises(UserError, match="does not survive quantization"):
        quantized(model, about, scorer, dataset)
    flat = onnx_format.model(lambda raw: raw[:, 0, 0] + raw[:, 1, 0], shape, about)
    with pytest.raises(UserError, match="nothing to quantize"):
        quantized(flat, about, scorer, dataset)


def test_mistakes_are_named(folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder / "float", copy)
    model = (copy / "scorer.onnx").read_bytes()
    (copy / "scorer.onnx").write_bytes(model[:-1])
    assert main(["verify", str(copy)]) == 1
    assert "onnx: FAILED" in capsys.readouterr().out
    assert main(["quantize", str(copy), "--out", str(tmp_path / "new")]) == 2
    assert "scorer.onnx: damaged" in capsys.readouterr().err
    assert main(["quantize", str(folder / "run"), "--out", str(tmp_path / "new")]) == 2
    assert "no exported scorer" in capsys.readouterr().err and not (tmp_path / "new").exists()
    with pytest.raises(SystemExit):
        main(["quantize", str(copy)])
    with pytest.raises(UserError, match="refuses"):
        onnx_format.loaded(model[:100])
