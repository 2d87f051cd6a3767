"""The scorer's inputs and rates: JAX and awkward arrays, several devices, background rates."""

import dataclasses
import logging
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from random_scorers import jet_scorer, trigger_data, trigger_scorer

from jaxad.data.layout import Layout
from jaxad.data.ragged import padded
from jaxad.devices import compiler
from jaxad.errors import UserError
from jaxad.scorer import Scorer, load
from jaxad.storage import on_disk, sorting


@pytest.fixture(scope="module")
def scorer():
    return trigger_scorer()


def test_jax_arrays_score_as_numpy_arrays(scorer):
    x = trigger_data(300)
    found = scorer(jnp.asarray(x))
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, scorer(x))
    with pytest.raises(UserError, match="event 7 holds NaN"):
        scorer(jnp.asarray(x).at[7, 0, 0].set(jnp.nan))
    with pytest.raises(UserError, match=r"scorer\.fn"):
        jax.jit(lambda x: scorer(x))(x)


def test_any_number_of_events_in_any_batches(scorer):
    x = trigger_data(4096 + 256 + 17)
    whole = scorer(x)
    assert len(whole) == len(x)
    for n in (0, 1, 16, 263):
        found = scorer(x[:n])
        np.testing.assert_allclose(found, whole[:n], rtol=1e-5)
        found[:] = 0.0  # they are the caller's


def test_a_first_score_compiles_its_own_program_and_no_other(caplog):
    n, k = 23, 11  # numbers of which no other test has arrays
    scorer = Scorer(
        method="pca",
        config=ConfigDict({"inputs": {"name": "features"}}),
        params={
            "mean": np.zeros(n, np.float32),
            "components": np.eye(n, dtype=np.float32)[:k],
            "inputs": {"shift": np.zeros(n, np.float32), "scale": np.ones(n, np.float32)},
        },
        layout=Layout("features", (n,), columns=tuple((f"x{i}", "") for i in range(n))),
    )
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        scorer(np.ones((1, n), np.float32))
    compiled = [record.getMessage() for record in caplog.records]
    assert sum(text.startswith("Compiling") for text in compiled) == 1, compiled


def test_few_events_are_scored_by_a_program_that_is_compiled_in_haste(scorer):
    assert compiler.for_few(compiler.FEW_ROWS + 1) is None
    options = compiler.for_few(compiler.FEW_ROWS)
    assert (options is None) == (jax.default_backend() != "cpu")
    few, x = dataclasses.replace(scorer, compiler_options=options), trigger_data(40)
    found, expected = few.member_scores(x), scorer.member_scores(x)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6)


def test_rate_and_threshold_are_inverse(scorer):
    cut = scorer.threshold(0.05)
    rate = scorer.rate(cut["threshold"], input_hz=1e6)
    assert rate["fpr"] == cut["fpr"] and rate["error"] == cut["error"]
    assert rate["rate"] == pytest.approx(1e6 * cut["fpr"])
    assert rate["rate_error"] == pytest.approx(1e6 * cut["error"])
    refused = scorer.rate(scorer.background[-5])
    assert refused["rate"] is None and refused["n_background"] == 5
    assert "5 of 2000" in refused["reason"]


def test_weighted_events_set_the_thresholds(scorer, tmp_path):
    weight = 1.0 + np.arange(len(scorer.background)) % 3
    order = np.random.default_rng(0).permutation(len(weight))
    weighted = scorer.calibrated(scorer.background[order], weight[order])
    twice = scorer.calibrated(np.repeat(scorer.background, weight.astype(int)))
    assert twice.background_weight is None
    one, other = weighted.threshold(0.05), twice.threshold(0.05)
    assert one["threshold"] == other["threshold"]
    assert one["fpr"] == pytest.approx(other["fpr"])
    rate = weighted.rate(one["threshold"], input_hz=1e6)
    assert rate["rate"] == pytest.approx(1e6 * one["fpr"])
    weighted.save(tmp_path / "scorer")
    again = load(tmp_path)
    np.testing.assert_array_equal(again.background_weight, weighted.background_weight)
    assert again.threshold(0.05) == one
    (tmp_path / "scorer" / "background_weight.npy").unlink()
    with pytest.raises(UserError, match="its files are not those that were saved together"):
        load(tmp_path)


def test_callers_scores_of_any_form_calibrate(scorer, tmp_path, monkeypatch):
    np.testing.assert_array_equal(scorer.calibrated([3.0, 1.0, 2.0]).background, [1, 2, 3])
    np.save(tmp_path / "scores.npy", np.arange(40.0)[::-1])
    mapped = np.load(tmp_path / "scores.npy", mmap_mode="r")
    monkeypatch.setattr(on_disk, "BLOCK_ROWS", 8)
    for given in (mapped, mapped.astype(np.float32)):
        found = scorer.calibrated(given).background
        np.testing.assert_array_equal(found, np.arange(40))
        assert on_disk.folder_of(found) is None
    in_order = scorer.calibrated(mapped)
    monkeypatch.setattr(sorting, "together", None)
    assert in_order.threshold(0.5)["n_background"] == 20  # not sorted again


def test_a_scorer_without_background_has_no_rate(scorer):
    with pytest.raises(UserError, match="no calibration sample: given by the caller"):
        dataclasses.replace(scorer, background=np.zeros(0, np.float32)).rate(0.0)


def test_another_score_may_be_the_default(tmp_path):
    scorer, x = trigger_scorer("dense_vae"), trigger_data(200)
    other, held_out = scorer.names[-1], trigger_data(500, seed=9)
    chosen = scorer.with_default(other, held_out)
    assert chosen.names[0] == other != scorer.names[0]
    assert sorted(chosen.names) == sorted(scorer.names) and chosen.digest != scorer.digest
    np.testing.assert_allclose(chosen(x), scorer.scores(x)[other], rtol=1e-5)
    np.testing.assert_allclose(
        chosen.background, np.sort(scorer.scores(held_out)[other]), rtol=1e-5
    )
    chosen.save(tmp_path / "scorer")
    again = load(tmp_path)
    np.testing.assert_array_equal(again(x), chosen(x))
    assert again.digest == chosen.digest
    with pytest.raises(UserError, match=f"expected one of .*{other}.*, found 'none'"):
        scorer.with_default("none", held_out)


def test_awkward_events_are_padded():
    ak = pytest.importorskip("awkward")
    numbers = ak.Array([[[1.0, 2, 3], [4, 5, 6]], [], [[7, 8, 9]]])
    expected = [[[1, 2, 3], [4, 5, 6]], [[0] * 3] * 2, [[7, 8, 9], [0] * 3]]
    found = padded(numbers, (None, 3), "ptetaphi")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    records = ak.zip({"phi": numbers[..., 2], "pt": numbers[..., 0], "eta": numbers[..., 1]})
    np.testing.assert_array_equal(padded(records, (None, 3), "ptetaphi"), expected)
    longer = ak.Array([[[1.0, 2, 3]] * n for n in (5, 2)])
    assert padded(longer, (None, 3), "ptetaphi").shape == (2, 8, 3)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([[[1.0, 2, 3]] * 3], "event 0 has 3 objects, the scorer takes 2, each in a slot"),
        ([[[1.0, 2, 3]] * 2, [[1.0, 2, 3]]], "event 1 has 1 objects, the scorer takes 2"),
        ([[[1.0, 2, 3]], [[1.0, 2]]], "3 numbers an object"),
        ([[["a", "b", "c"]]], r"expected \(n, var, 3\) numbers, found .* string"),
        ([[[1j, 0, 0]]], r"expected \(n, var, 3\) numbers, found .* complex128"),
        ([[{"pt": "a", "eta": 2.0, "phi": 3.0}]], r"expected \(n, var, 3\) numbers"),
        ([[{"pt": 1.0, "eta": 2.0, "angle": 3.0}]], "expected pt, eta, phi"),
        ([[[1.0, 2, None]]], "numbers"),
        ([[1.0, 2]], r"\(n, var, 3\)"),
    ],
)
def test_awkward_mistakes_are_named(events, message):
    ak = pytest.importorskip("awkward")
    with pytest.raises(UserError, match=message):
        padded(ak.Array(events), (2, 3), "ptetaphi")


def test_scorer_takes_awkward_arrays(scorer):
    ak = pytest.importorskip("awkward")
    x = trigger_data(20)
    events = ak.Array(x.tolist())
    np.testing.assert_array_equal(scorer(events), scorer(x))
    np.testing.assert_array_equal(scorer(ak.mask(events, ak.num(events) > 2)), scorer(x))
    np.testing.assert_array_equal(scorer(ak.values_astype(events, "f8")), scorer(x))
    assert len(scorer(ak.Array([]))) == 0
    packed = events[events[..., 0] > 0]  # as one would get them of a file
    with pytest.raises(UserError, match=r"has \d+ objects, the scorer takes 19, each in a slot"):
        scorer(packed)
    jet, empty = jet_scorer(), np.zeros((2, 1, 4))
    np.testing.assert_array_equal(jet(ak.Array([[], []])), jet(empty))


EIGHT_DEVICES = """
import sys, jax, numpy as np
from random_scorers import trigger_data, trigger_scorer
assert len(jax.devices()) == 8
np.savez(sys.argv[1], **trigger_scorer().member_scores(trigger_data(4096 + 300)))
"""


@pytest.mark.cpu("eight simulated CPUs against one")
def test_eight_devices_score_as_one(scorer, tmp_path):
    folder = Path(__file__).parent
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder / "helpers"), str(folder.parent)])
    command = [sys.executable, "-c", EIGHT_DEVICES, str(tmp_path / "scores.npz")]
    subprocess.run(command, env=environment, check=True, timeout=300)
    one = scorer.member_scores(trigger_data(4096 + 300))
    with np.load(tmp_path / "scores.npz") as eight:
        assert set(eight) == set(one)
        for name, values in one.items():
            np.testing.assert_allclose(eight[name], values, rtol=1e-4)
