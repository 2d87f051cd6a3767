"""The student of CICADA as a project of hls4ml: all integers of the scorer, of g++ and of da4ml."""

import os
import shutil
from fractions import Fraction

import exact_numbers
import jax
import numpy as np
import pytest
from random_scorers import region_scorer, regions

from jaxad import data
from jaxad.commands.export import main
from jaxad.errors import UserError
from jaxad.export import hls
from jaxad.export.hls import build, estimates, image, integer_project, top
from jaxad.export.verify import read_contract
from jaxad.fixed import parsed
from jaxad.models import cicada
from jaxad.scorer import Scorer

compiles = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return region_scorer()


def spread(events: int, seed: int) -> np.ndarray:
    """Counts (n, 252), uniform up to a limit of each event, itself up to all ones."""
    rng = np.random.default_rng(seed)
    limit = np.floor(2 ** rng.uniform(0, 10, (events, 1)))
    return np.floor(rng.random((events, 252)) * (limit + 1)).astype(np.int32)


def test_integers_are_those_of_exact_arithmetic(scorer):
    """By the types that are written, in fractions, step by step as the C++ does."""
    found, counts = image.firmware(scorer), regions(33, 1)[28:31].reshape(3, 252).astype(int)
    types, expected = found.types(), []
    for event in counts:
        y, x_type = event.reshape(9, 2, 7, 2).transpose(0, 2, 1, 3).reshape(63, 4), found.input
        for number, layer in enumerate(found.layers):
            parts = types[image.name_of(number, layer)]
            own = x_type, parts["weight"], parts["bias"], parts["result"]
            kernel = layer.kernel.reshape(-1, layer.kernel.shape[-1])
            y = exact_numbers.dense(y, kernel, layer.bias, own, parts["accum"])
            x_type = layer.output_type
            for place, m in np.ndenumerate(y):
                value = max(exact_numbers.value(m, parts["result"]), Fraction(0))
                y[place] = exact_numbers.assigned(value, x_type)
            y = y.reshape(1, -1)
        expected.append(int(y[0, 0]))
    np.testing.assert_array_equal(image.emulator(scorer)(counts), expected)
    assert len(set(expected)) == 3


def test_counts_scores_and_the_threshold_are_the_scorers(scorer):
    raw = regions(300, 4)
    counts = image.counts_of(scorer, np.where(raw == 1023, 4000, raw))
    np.testing.assert_array_equal(counts, raw.reshape(300, 252))
    scores, integers = scorer(raw), image.emulator(scorer)(counts)
    np.testing.assert_array_equal(np.ldexp(np.float32(integers), -8), scores)
    for score in (*np.quantile(scores, [0.1, 0.9]), scores[0], np.nextafter(scores[0], np.inf)):
        flags = integers >= image.threshold_of(float(np.float32(score)))
        np.testing.assert_array_equal(flags, scores >= np.float32(score))


def test_the_sources_have_the_types(scorer):
    found = image.firmware(scorer)
    assert found.ebops == scorer.params["ebops"][0] and found.n_inputs == 252
    facts = image.facts(found, 100.0)
    assert facts["threshold"] == 25_600 and facts["score"]["type"] == str(cicada.SCORE)
    assert facts["types"]["conv_0"]["weight"] == "fixed<12,4,RND,SAT_SYM>"
    assert facts["types"]["dense_1"]["bias"] == "fixed<8,4,RND,SAT_SYM>"
    assert facts["types"]["relu_1"] == {"result": "ufixed<10,6,RND_CONV,SAT>"}
    written = top.image_sources(found, 25_600, "jaxad_net")
    source, header = written["firmware/jaxad_net.cpp"], written["firmware/jaxad_net.h"]
    assert "jaxad_net_threshold = 25600u;" in source
    assert "ap_ufixed<10,10,AP_TRN,AP_SAT> x[252];" in source
    assert "ap_ufixed<16,8,AP_RND_CONV,AP_SAT> result[1];" in source
    assert "typedef ap_uint<10> jaxad_net_count_t;" in header


def test_what_cannot_be_written_is_refused(monkeypatch):
    several = region_scorer()
    several.params["ebops"] = several.params["ebops"].repeat(2)
    with pytest.raises(UserError, match=r"one network only, found 2 members: train with train\.en"):
        hls.check(several)
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jaxad\[hls\]'"):
        hls.check(region_scorer())


def test_logic_of_a_small_image_is_that_of_the_integers():
    """4 x 4 pixels, by da4ml: the convolution, its order, and all roundings."""
    pytest.importorskip("da4ml")
    rng = np.random.default_rng(0)
    stored = {
        "conv": rng.integers(-300, 300, (2, 2, 1, 4)).astype(np.int32),
        "dense": rng.integers(-60, 60, (16, 16)).astype(np.int32),
        "bias": rng.integers(-127, 127, 16).astype(np.int32),
        "out": rng.integers(-100, 200, (16, 1)).astype(np.int32),
    }
    found = image.ImageFirmware((4, 4), cicada.network(stored), 0)
    logic, counts = estimates.image_logic(found), rng.integers(0, 60, (400, 16))
    expected = jax.jit(cicada.integer_scores)(
        stored, counts.reshape(-1, 4, 4, 1).astype(np.float32)
    )
    scores = np.ldexp(logic.predict(np.float64(counts))[:, 0], found.score.fraction)
    np.testing.assert_array_equal(scores, expected)
    assert len(np.unique(expected)) > 100


@compiles
@pytest.mark.long
def test_scorer_build_and_logic_agree_on_ten_thousand_images(scorer, tmp_path, capsys):
    """Half of them like events, the rest spread over all counts."""
    os.environ["KERAS_BACKEND"] = "jax"
    for package in ("hls4ml", "keras", "da4ml"):
        pytest.importorskip(package)
    n, raw = 5000, regions(5000, 5)
    counts = np.concatenate([image.counts_of(scorer, raw), spread(n, 6)])
    ours = image.emulator(scorer)(counts)
    threshold = float(np.float32(np.quantile(scorer(raw), 0.9)))
    about = {"namespace": "jaxad_net", "threshold": threshold}
    facts = integer_project.project(scorer, about, raw[:32], tmp_path)
    built, flags = integer_project.built(tmp_path, "jaxad_net", 252)(counts)
    logic = integer_project.logic(tmp_path, facts["score"]["fraction"])(counts)
    saturated = float(np.mean(ours[:n] == cicada.SCORE.highest))
    with capsys.disabled():
        print(
            f"\n{len(ours)} images, {np.sum(built != ours)} integers of g++ and "
            f"{np.sum(logic != ours)} of da4ml differ; like events {n}, "
            f"{len(np.unique(ours[:n]))} scores, {saturated:.2%} saturated; {facts['ebops']:,} "
            f"EBOPs, {facts['estimates']['lut']:,} LUT, {facts['estimates']['ff']:,} FF, "
            f"{facts['estimates']['stages']} stages"
        )
    np.testing.assert_array_equal(built, ours)
    np.testing.assert_array_equal(logic, ours)
    np.testing.assert_array_equal(flags[:n], scorer(raw) >= np.float32(threshold))
    assert saturated < 0.01 and len(np.unique(ours[:n])) > 1000
    assert len(np.unique(ours[n:])) > 1000


@compiles
@pytest.mark.long
def test_export_and_verify_compare_integers(scorer, tmp_path, capsys):
    os.environ["KERAS_BACKEND"] = "jax"
    for package in ("hls4ml", "keras", "da4ml"):
        pytest.importorskip(package)
    np.savez(tmp_path / "zero_bias.npz", CaloRegions=regions(3000, 3))
    settings = {"val_fraction": 0.4, "test_fraction": 0.4}
    source = str(tmp_path / "zero_bias.npz")
    scorer.config.data = data.get_config("regions", source=source, **settings)
    scorer.save(tmp_path / "run" / "scorer")
    command = ["--format", "hls", "--fpr", "0.02", "--out", str(tmp_path / "out")]
    assert main([str(tmp_path / "run"), *command]) == 0
    about = read_contract(tmp_path / "out")
    raw = np.load(tmp_path / "out" / "golden.npz")["raw"]
    np.testing.assert_array_equal(
        np.ldexp(np.float32(about["hls"]["golden"]), -8), scorer(raw), strict=True
    )
    assert parsed(about["hls"]["score"]["type"]) == cicada.SCORE
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "out"), "--events", source]) == 0
    printed = capsys.readouterr().out
    for program in ("g++", "da4ml"):
        for sample in ("32 golden rows", "3000 events"):
            number = sample.split()[0]
            line = f"hls: agrees on {sample}: {program}: 0 of {number} integer scores and 0 flags"
            assert line in printed
    weights = tmp_path / "out" / "hls" / "firmware" / "weights" / "w2.txt"
    weights.write_text(", ".join("0.25" for _ in weights.read_text().split(",")))
    assert main(["verify", str(tmp_path / "out")]) == 1
    assert "FAILED on 32 golden rows: g++: " in capsys.readouterr().out
