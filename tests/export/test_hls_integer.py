"""Integer scorers as projects of hls4ml: every integer of the scorer, of g++ and of da4ml."""

import itertools
import os
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import exact_numbers
import numpy as np
import pytest
from random_scorers import (
    convolution_layers,
    float_layers,
    integer_scorer,
    mixture_scorer,
    trigger_data,
)

from jaxad import data
from jaxad.commands.export import main
from jaxad.errors import UserError
from jaxad.export import hls
from jaxad.export.hls import build, estimates, integer, integer_project, top
from jaxad.export.verify import read_contract
from jaxad.fixed import FixedType, Layer, parsed
from jaxad.methods.stages.fractions import fractions_of
from jaxad.models.integers import ebops
from jaxad.scorer import Scorer, load

compiles = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return integer_scorer()


def uniform(events: int, seed: int = 0) -> np.ndarray:
    """Counts (n, 57) over all that the inputs can be."""
    rng = np.random.default_rng(seed)
    return rng.integers(integer.LOWEST, integer.HIGHEST + 1, (events, 57))


def scorer_of(kind: str, rounding: str = "RND_CONV") -> Scorer:
    """Of a score; of a convolution whose code is squared; of an autoencoder with a last ReLU."""
    if kind == "convolution":
        return integer_scorer(rounding, layers=convolution_layers())
    if kind == "rectified":
        layers = [layer._replace(relu=True) for layer in float_layers("mse")]
        return integer_scorer(rounding, score="mse", layers=layers)
    return integer_scorer(rounding, score=kind)


KINDS = ["mu2", "mse", "distance", "student", "convolution", "rectified"]


@pytest.mark.parametrize("kind", KINDS)
def test_integers_are_those_of_exact_arithmetic(kind):
    """By the types that are written, in fractions, step by step as the C++ does."""
    scorer = scorer_of(kind)
    found, counts = integer.firmware(scorer), uniform(5)
    expected = []
    for event in counts:
        z = [
            exact_numbers.assigned(Fraction(int(x - offset)) / Fraction(2) ** int(shift), t)
            for t in (found.source,)
            for x, offset, shift in zip(event, found.offset, found.shift, strict=True)
        ]
        x_type = found.source
        for t in (found.scaled, found.input):
            z = [exact_numbers.assigned(exact_numbers.value(m, x_type), t) for m in z]
            x_type = t
        y, outputs = np.array([z]), []
        for number, layer in enumerate(found.layers):
            parts = found.types()[f"dense_{number}"]
            types = x_type, parts["weight"], parts["bias"], parts["result"]
            y = exact_numbers.dense(y, layer.kernel, layer.bias, types, parts["accum"])
            x_type = layer.output_type
            if layer.activation:
                for place, m in np.ndenumerate(y):
                    value = max(exact_numbers.value(m, parts["result"]), Fraction(0))
                    y[place] = exact_numbers.assigned(value, x_type)
            outputs.append([exact_numbers.value(m, x_type) for m in y[0]])
        codes = outputs[-1]
        if found.compared is not None:
            other = [[exact_numbers.value(m, found.input) for m in z], *outputs][found.compared]
            codes = [a - b for a, b in zip(codes, other, strict=True)]
            exact = found.types()["difference"]["result"]
            held = [exact_numbers.value(exact_numbers.assigned(c, exact), exact) for c in codes]
            assert held == codes
        value = codes[0] if found.number else sum(c**2 for c in codes)
        expected.append(value * 2**found.score.fraction)
    np.testing.assert_array_equal(integer.emulator(scorer)(counts), expected)
    assert len(set(expected)) == 5


def test_types_hold_what_they_are_for(scorer):
    found = integer.firmware(scorer)
    assert str(found.source) == "fixed<19,14,TRN,WRAP>"  # MET to 4095 counts, doubled
    far = found.offset.copy()
    far[0] = 4095
    assert found._replace(shift=abs(found.shift), offset=far).source.integer == 13
    assert str(found.code) == "fixed<10,7,RND_CONV,SAT>"
    assert found.score == (22, 16, False, "TRN", "WRAP") and found.score.fraction == 6
    assert 8 * found.code.lowest**2 == 2**21 <= found.score.highest
    assert integer.COUNT_BITS == 13
    assert found.ebops == scorer.params["ebops"][0]
    facts = integer.facts(found, 100.0)
    assert facts["types"]["z"] == {"result": "fixed<8,6,RND_CONV,SAT>"}
    assert facts["types"]["relu_1"] == {"result": "ufixed<10,5,RND_CONV,SAT>"}
    assert facts["types"]["dense_0"]["weight"] == "fixed<4,1,RND,SAT_SYM>"
    parts = facts["types"]["dense_0"]
    assert parts["accum"] == parts["result"] == "fixed<19,14,TRN,WRAP>"


def test_the_integer_threshold_gives_the_scorers_flags(scorer):
    found = integer.firmware(scorer)
    raw = trigger_data(500, seed=3)
    scores, counts = scorer(raw), integer.emulator(scorer)(integer.counts_of(scorer, raw))
    for score in (*np.quantile(scores, [0.1, 0.5]), scores[0], np.nextafter(scores[0], np.inf)):
        flags = counts >= found.threshold(float(np.float32(score)))
        np.testing.assert_array_equal(flags, scores >= np.float32(score))
    exact = found.layers[0]._replace(activation="")
    wide = found._replace(layers=[exact], code=exact.output_type)
    assert wide.score.width > 30  # float32 does not hold such counts, and neighbours tie
    for m in (2**25 + 1, 2**25 + 2, 2**25 + 3):
        score = np.ldexp(np.float32(m), -wide.score.fraction)
        cut = wide.threshold(float(score))
        assert np.ldexp(np.float32(cut), -wide.score.fraction) >= score
        assert np.ldexp(np.float32(cut - 1), -wide.score.fraction) < score


def test_the_sources_have_the_constants_and_types(scorer):
    found = integer.firmware(scorer)
    written = top.sources(found, 12345, "jaxad_net")
    source, header = written["firmware/jaxad_net.cpp"], written["firmware/jaxad_net.h"]
    for name, expected in (("offset", found.offset), ("shift", found.shift)):
        (numbers,) = re.findall(rf"jaxad_net_{name}\[57\] = {{(.*)}};", source)
        np.testing.assert_array_equal([int(n) for n in numbers.split(",")], expected)
    assert "jaxad_net_score_t jaxad_net_threshold = 12345u;" in source
    assert "score >= jaxad_net_threshold" in source
    assert "ap_fixed<19,14,AP_TRN,AP_WRAP> difference = counts[i] - jaxad_net_offset[i];" in source
    assert "ap_fixed<8,6,AP_RND_CONV,AP_SAT> scaled = difference >> jaxad_net_shift[i];" in source
    assert "ap_fixed<10,7,AP_RND_CONV,AP_SAT> codes[8];" in source
    assert "ap_ufixed<22,16,AP_TRN,AP_WRAP> sum = 0;" in source
    assert "ap_uint<22> jaxad_net_score_t;" in header and "ap_int<13> jaxad_net_count_t" in header


def test_one_number_is_written_as_it_is():
    """With its sign, and not squared; flags are the scorer's below zero too."""
    scorer = integer_scorer(score="student")
    found, raw = integer.firmware(scorer), trigger_data(500, seed=3)
    written = top.sources(found, -37, "jaxad_net")
    source = written["firmware/jaxad_net.cpp"]
    assert "ap_int<10> jaxad_net_score_t;" in written["firmware/jaxad_net.h"]
    assert "jaxad_net_threshold = -37;" in source and "score = codes[0].range();" in source
    assert "sum" not in source
    assert integer.facts(found, 1.0)["score"]["meaning"].startswith("the network's result: an int")
    scores, counts = scorer(raw), integer.emulator(scorer)(integer.counts_of(scorer, raw))
    assert scores.min() < 0 < scores.max()
    fractions = fractions_of("quantized", scorer.config, scorer.params)
    np.testing.assert_array_equal(np.ldexp(scores, fractions["student"]), counts)
    for score in np.quantile(scores, [0, 0.2, 0.6, 1], method="nearest"):
        for cut in (score, np.nextafter(score, np.float32(np.inf))):
            flags = counts >= found.threshold(float(cut))
            np.testing.assert_array_equal(flags, scores >= cut)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"members": 2}, "one network only, found 2 members: train with train.ensemble 1"),
        ({"name": "features"}, r"takes counts: expected a run of inputs\.name=trigger_integer, f"),
        ({"type": "fixed<8,6,RND_INF,SAT>"}, r"inputs\.type: expected a rounding of TRN, RND, RN"),
    ],
)
def test_what_is_no_firmware_is_refused(change, reason):
    scorer = integer_scorer()
    if "members" in change:
        scorer.params["ebops"] = scorer.params["ebops"].repeat(change.pop("members"))
    scorer.config.inputs.update(change)
    with pytest.raises(UserError, match=reason):
        hls.check(scorer)


def test_other_methods_and_missing_packages_keep_their_messages(scorer, monkeypatch):
    with pytest.raises(UserError, match="dense trigger autoencoders only"):
        hls.check(mixture_scorer())
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jaxad\[hls\]'"):
        hls.check(scorer)


@pytest.mark.parametrize(
    ("rounding", "kind"),
    [
        *(("RND_CONV", "mu2"), ("RND", "mu2"), ("RND", "distance"), ("RND_CONV", "mse")),
        *(("RND_CONV", "student"), ("RND", "convolution")),
    ],
)
def test_the_logic_of_adders_gives_the_same_integers(rounding, kind):
    """Half to even too, which da4ml itself does not know, at the price of an adder a number."""
    pytest.importorskip("da4ml")
    scorer = scorer_of(kind, rounding)
    found, counts = integer.firmware(scorer), uniform(500)
    counts = np.concatenate([counts, integer.counts_of(scorer, trigger_data(500, seed=4))])
    logic = estimates.firmware_logic(found)
    scores = np.ldexp(logic.predict(np.float64(counts))[:, 0], found.score.fraction)
    np.testing.assert_array_equal(scores, integer.emulator(scorer)(counts))
    assert len(np.unique(scores)) > (200 if kind == "student" else 800)
    if kind == "mu2":  # of which a network alone leaves the squares out
        results = estimates.network_logic(found).predict(np.float64(counts))
        squares = np.ldexp(np.sum(results**2, axis=1), found.score.fraction)
        np.testing.assert_array_equal(squares, scores)
    cost, bits = estimates.estimates(logic), found.ebops
    if kind == "mse":  # whose 57 squares are no trifle beside the network
        bits += 57 * (found.code.width - 1) ** 2
    assert 3_000 < cost["lut"] < 1.2 * bits and cost["ff"] > 500
    assert estimates.latency(cost["stages"])["160"] == 6.25 * cost["stages"]


def test_estimates_fall_with_the_bits_of_weights():
    pytest.importorskip("da4ml")
    found = [integer.firmware(integer_scorer("RND", bits)) for bits in (6, 4, 3)]
    costs = [estimates.estimates(estimates.firmware_logic(firmware)) for firmware in found]
    for one, fewer in itertools.pairwise(zip(found, costs, strict=True)):
        assert fewer[0].ebops < 0.8 * one[0].ebops and fewer[1]["lut"] < 0.8 * one[1]["lut"]


def test_the_layout_of_axol1tl_costs_what_is_known():
    """57-29-10 and 9-6-4-6-9-10 with weights of 3 fractional bits: about 20,000 LUTs."""
    pytest.importorskip("da4ml")
    from da4ml.trace import FixedVariableArray, HWConfig, comb_trace

    rng, weight = np.random.default_rng(1), parsed("fixed<4,1>")
    relu = "relu", parsed("ufixed<10,6,RND,SAT>")
    network, stored = [], {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise((57, 29, 10, 9, 6, 4, 6, 9, 10))):
        kernel, bias = (
            np.clip(np.rint(rng.normal(0, 2, shape)), -8, 7).astype(np.int32)
            for shape in ((inputs, outputs), (outputs,))
        )
        kernel *= rng.random(kernel.shape) < 0.7  # of the deployed weights as many are not zero
        own = ("", None) if number in (4, 7) else relu
        result = parsed("fixed<18,14,RND,SAT>")
        network.append(Layer(kernel, bias, weight, weight, result, *own))
        width = np.array([network[-1].output_type.width])
        result = {"result_type" if number in (4, 7) else "relu_type": width}
        stored[str(number)] = {"kernel": kernel, "bias": bias, **result}
    x = FixedVariableArray.from_kif(
        *(np.full(57, n) for n in (1, 5, 8)), hwconf=HWConfig(1, -1, -1)
    )
    features = estimates.layers_of(network[:2], x)
    difference = estimates.layers_of(network[2:], features) - features
    difference = estimates.converted(difference, FixedType(18, 11))
    score = np.sum(difference * difference, keepdims=True)
    cost = estimates.estimates(comb_trace(x, score))
    assert 10_000 < cost["lut"] < 40_000, cost
    assert 10_000 < ebops(stored, 13) < 40_000


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """An integer run on files of one's own, and its project, which export has verified."""
    os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is first imported
    for package in ("hls4ml", "keras", "da4ml"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("integer")
    np.savez(folder / "events.npz", x=trigger_data(3000, seed=3))
    scorer = integer_scorer("RND")
    settings = {"val_fraction": 0.4, "test_fraction": 0.4}
    scorer.config.data = data.get_config("events", source=str(folder / "events.npz"), **settings)
    scorer.save(folder / "run" / "scorer")
    command = ["--format", "hls", "--fpr", "0.02", "--out", str(folder / "out")]
    assert main([str(folder / "run"), *command]) == 0
    return folder


@compiles
@pytest.mark.long
def test_export_and_verify_compare_integers(exported, capsys):
    about, archive = read_contract(exported / "out"), load(exported / "out" / "scorer")
    facts = about["hls"]
    assert facts["ebops"] == archive.params["ebops"][0] and "drift" not in facts
    assert facts["estimates"].keys() == {
        *("lut", "ff", "stages", "adders"),
        *("latency_ns", "meaning"),
    }
    raw = np.load(exported / "out" / "golden.npz")["raw"]
    counts = integer.counts_of(archive, raw)
    assert facts["golden"] == integer.emulator(archive)(counts).tolist()
    np.testing.assert_array_equal(
        np.ldexp(np.float32(facts["golden"]), -facts["score"]["fraction"]),
        load(exported / "run")(raw),
    )
    texts = [path.read_bytes() for path in (exported / "out").rglob("*") if path.is_file()]
    assert not any(str(exported / "out").encode() in text for text in texts)
    capsys.readouterr()
    command = ["verify", str(exported / "out"), "--events", str(exported / "events.npz")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for program in ("g++", "da4ml"):
        for sample in ("32 golden rows", "3000 events"):
            number = sample.split()[0]
            line = f"hls: agrees on {sample}: {program}: 0 of {number} integer scores and 0 flags"
            assert line in printed
    assert "hls: agrees on 3000 events: archive: 0 of 3000 integer scores differ" in printed


@compiles
@pytest.mark.long
def test_the_test_bench_replays_the_golden_rows(exported, tmp_path):
    project = shutil.copytree(exported / "out" / "hls", tmp_path / "hls")
    name = read_contract(exported / "out")["namespace"]
    weights = f'WEIGHTS_DIR="{project}/firmware/weights"'
    files = [f"{name}_test.cpp", f"firmware/{name}.cpp"]
    command = ["g++", "-w", "-I", "firmware/ap_types", "-D", weights, *files, "-o", "bench"]
    subprocess.run(command, cwd=project, check=True)
    done = subprocess.run(["./bench"], cwd=project, capture_output=True, text=True, check=True)
    assert "0 of 32 events differ" in done.stdout
    golden = project / "tb_data" / "golden.dat"
    golden.write_text(golden.read_text().replace(" 1\n", " 0\n"))
    assert subprocess.run(["./bench"], cwd=project, capture_output=True, check=False).returncode


@compiles
@pytest.mark.long
def test_a_changed_weight_is_noticed(exported, tmp_path, capsys):
    copy = shutil.copytree(exported / "out", tmp_path / "copy")
    weights = copy / "hls" / "firmware" / "weights" / "b2.txt"
    weights.write_text(", ".join("0.5" for _ in weights.read_text().split(",")))
    (copy / "hls" / "da4ml.json").write_text("[]")
    assert main(["verify", str(copy)]) == 1
    assert "da4ml.json: missing or damaged: export again" in capsys.readouterr().out
    shutil.copy(exported / "out" / "hls" / "da4ml.json", copy / "hls")
    assert main(["verify", str(copy)]) == 1
    assert re.search(r"FAILED on 32 golden rows: g\+\+: [1-9]", capsys.readouterr().out)


@compiles
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rounding", ["RND_CONV", "RND"])
def test_scorer_build_and_logic_agree_on_ten_thousand_events(rounding, kind, tmp_path, capsys):
    """Half of them like events, the rest uniform over all counts; two counts are doubled."""
    os.environ["KERAS_BACKEND"] = "jax"
    for package in ("hls4ml", "keras", "da4ml"):
        pytest.importorskip(package)
    scorer, n = scorer_of(kind, rounding), 5000
    found, raw = integer.firmware(scorer), trigger_data(n, seed=5)
    counts = np.concatenate([integer.counts_of(scorer, raw), uniform(n, 6)])
    ours = integer.emulator(scorer)(counts)
    threshold = float(np.float32(np.quantile(scorer(raw), 0.9)))
    about = {"namespace": "jaxad_net", "threshold": threshold}
    facts = integer_project.project(scorer, about, raw[:32], tmp_path)
    built, flags = integer_project.built(tmp_path, "jaxad_net")(counts)
    logic = integer_project.logic(tmp_path, facts["score"]["fraction"])(counts)
    saturated = saturation(found, scorer, counts[:n])
    with capsys.disabled():
        print(
            f"\n{kind}, {rounding}: {len(ours)} events, {np.sum(built != ours)} integers of g++ "
            f"and {np.sum(logic != ours)} of da4ml differ; like events {n}, "
            f"{len(np.unique(ours[:n]))} scores, {saturated:.2%} with a code that saturates; "
            f"{facts['ebops']:,} EBOPs, {facts['estimates']['lut']:,} LUT, "
            f"{facts['estimates']['ff']:,} FF, {facts['estimates']['stages']} stages"
        )
    np.testing.assert_array_equal(built, ours)
    np.testing.assert_array_equal(logic, ours)
    np.testing.assert_array_equal(flags[:n], scorer(raw) >= np.float32(threshold))
    np.testing.assert_array_equal(flags, ours >= facts["threshold"])
    assert saturated < 0.01
    assert len(np.unique(ours[:n])) > (250 if kind == "student" else 1000)  # of 10 bits


def saturation(found: integer.Firmware, scorer: Scorer, counts: np.ndarray) -> float:
    """The fraction of events with a code at an end of its type."""
    from jaxad import fixed
    from jaxad.inputs import trigger_integer

    z = trigger_integer.scaled(scorer.params["inputs"], counts, found.scaled)
    codes, t = fixed.run(found.layers, fixed.from_float(z, found.input), found.input)
    codes = np.asarray(codes)
    ends = [t.highest, t.lowest] if t.signed else [t.highest]
    return float(np.mean(np.isin(codes, ends).any(-1)))
