"""Exported scorers: every runtime gives the scorer's scores, and tampering is noticed."""

import dataclasses
import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_case import ABOUT, RAW, assert_rates_and_flags
from jax import lax
from ml_collections import ConfigDict
from random_scorers import (
    classifier_scorer,
    mixture_scorer,
    random_like,
    trigger_data,
    trigger_scorer,
)

import jaxad
from jaxad.commands.export import main
from jaxad.configs import cicada_teacher
from jaxad.errors import UserError
from jaxad.export import cpp, stablehlo
from jaxad.export.contract import contract, knots
from jaxad.export.onnx import model
from jaxad.methods import autoencoder
from jaxad.methods.stages import density, frame

compiles = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
RNG = np.random.default_rng(0)


def compiled(function, shape, folder: Path):
    path = folder / "scorer.hpp"
    path.write_text(cpp.header(function, shape, ABOUT))
    return cpp.compiled(path, ABOUT["namespace"])


@compiles
@pytest.mark.parametrize("name", ["dense_ae", "dense_vae", "classifier", "mixture"])
def test_cpp_gives_the_scorers_scores(name, tmp_path):
    if name == "classifier":
        scorer, x = classifier_scorer(), RNG.normal(0, 2, (500, 5)).astype(np.float32)
    else:
        scorer = mixture_scorer() if name == "mixture" else trigger_scorer(name, 10)
        x = trigger_data(500)
    params = jax.tree.map(jnp.asarray, scorer.params)
    function = compiled(lambda raw: scorer.fn(params, raw), scorer.shape, tmp_path)
    np.testing.assert_allclose(function(x)[:, 0], scorer(x), rtol=2e-5, atol=1e-5)


@compiles
def test_cpp_gives_the_mean_over_the_copies_of_an_image(tmp_path):
    """Turned by indices that the compiler knows: C++ has no others."""
    config = cicada_teacher.get_config("smoke")
    network = autoencoder.model(config)
    x = RNG.poisson(3, (20, 18, 14)).astype(np.float32)
    params = jax.jit(network.init)(jax.random.key(0), x[..., None])["params"]

    def score(raw):
        found = autoencoder.reconstruction(network, params, raw[..., None], symmetric=True)
        return autoencoder.squared_error(raw[..., None], found)

    found = compiled(score, x.shape[1:], tmp_path)(x)[:, 0]
    np.testing.assert_allclose(found, jax.jit(score)(x), rtol=1e-5)


@compiles
@pytest.mark.parametrize(
    ("name", "coupling", "order"),
    [
        ("realnvp", "affine", 0),
        ("realnvp", "spline", 2),
        ("autoregressive", "affine", 2),
        ("autoregressive", "spline", 0),
    ],
)
def test_cpp_gives_the_log_density_of_a_flow(name, coupling, order, tmp_path):
    settings = {"name": name, "coupling": coupling, "n_layers": 2, "hidden": (16,), "n_bins": 4}
    settings |= {"mass": "linear", "frame_order": order, "mass_order": order}
    config = ConfigDict({"flow": density.get_config(**settings)})
    flow = density.network(config.flow, 3)
    shapes = jax.eval_shape(
        lambda: flow.init(jax.random.key(0), jnp.zeros((1, 3)), jnp.zeros((1, 1)))
    )
    x = RNG.normal(0, 1, (400, 4)).astype(np.float32)
    fitted = frame.fit(config.flow, {"x": x[:, 1:], "m": x[:, 0]})
    assert ("moving" in fitted) == (order > 0)
    fitted["params"] = random_like(shapes, 1, 2)

    def nll(raw):
        return -density.log_prob(config, fitted, raw[:, 1:], raw[:, 0])

    found = compiled(nll, (4,), tmp_path)(x)[:, 0]
    np.testing.assert_allclose(found, jax.jit(nll)(x), rtol=1e-4, atol=1e-4)


def every_operation(x: jax.Array) -> jax.Array:
    """(1, 4, 6) to (1,): the operations that C++ has, in forms that networks seldom use."""
    table = jnp.arange(24.0).reshape(4, 6)
    a = jnp.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=0.5)
    b = jnp.concatenate([x[:, ::-1, 1:4], table[None, :, :2], x[:, ::2].repeat(2, 1)], axis=2)
    c = jnp.einsum("nij,kj->nik", x, table) + jnp.einsum("nij,nkj->nik", x, x)
    d = x.at[:, 1, ::2].set(table[0, :3] - x[:, 2, 1::2])
    e = jnp.where(x > 0.2, jnp.clip(x, -0.5, 0.5), -x) ** -2 + jnp.cumsum(x, 2)
    f = jnp.max(c, axis=2) - jnp.min(d, axis=(1,))[:, :4] + jnp.mod(x, 0.3).sum(2)
    g = jnp.tanh(3 * b) + jax.nn.sigmoid(5 * b) + jnp.log1p(jnp.exp(b)) + jnp.sign(b) * jnp.abs(b)
    h = jax.checkpoint(jnp.sinc)(x) + jnp.round(3 * x) + lax.round(2 * x)
    flags = jnp.all(x > -5, axis=2) & ~jnp.any(x > 5, axis=1)[:, :4] | jnp.isfinite(f)

    def step(carry, row):
        total, last = carry
        return (total + row @ table[:, :4], row), total.sum() * last

    carry, steps = lax.scan(step, (jnp.zeros(4), x[0, :, 0]), x[0].T, reverse=True)
    flipped = lax.map(lambda row: row[0] @ row[1], (table[:, None, :2], table.reshape(4, 2, 3)))
    whole = lax.bitcast_convert_type(x, jnp.uint32) % jnp.uint32(7)
    parts = [a, b, c, d, e, f, g, h, flags, carry[0] - carry[1], steps, flipped, whole, c.T * 0.1]
    return sum(jnp.sum(jnp.sin(p.astype(jnp.float32)) * 0.1) for p in parts).reshape(1)


@compiles
def test_cpp_has_the_operations_of_jax(tmp_path):
    x = RNG.normal(0, 1, (50, 4, 6)).astype(np.float32)
    expected = jax.jit(jax.vmap(lambda event: every_operation(event[None])[0]))(x)
    found = compiled(every_operation, (4, 6), tmp_path)(x)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@compiles
def test_a_loop_may_give_what_it_carries(tmp_path):
    """The carried numbers before each step, not after it."""

    def sums(x):
        steps = lax.scan(lambda carry, row: (carry + row, carry), jnp.float32(0), x[0])[1]
        return jnp.sum(steps * jnp.array([1.0, 10.0, 100.0]))[None]

    found = compiled(sums, (3,), tmp_path)(np.array([[1, 2, 3]], np.float32))
    assert found[0, 0] == 310


@pytest.mark.parametrize("translated", [cpp.header, model], ids=["cpp", "onnx"])
def test_a_filled_place_is_not_the_first_element(translated):
    if translated is model:
        pytest.importorskip("onnx")
    with pytest.raises(UserError, match="indices outside of an array"):
        translated(
            lambda x: x.T.at[jnp.array([0, 9])].get(mode="fill", fill_value=0)[1], (5,), ABOUT
        )


PROGRAM = """
#include <cstdio>
#include "{a}"
#include "{b}"
#include "{a}"
void others(float* out);
int main() {{
  float raw[1] = {{2}}, out[12];
  {name_a}::evaluate(raw, out);
  {name_b}::evaluate(raw, out + 3);
  others(out + 6);
  for (float each : out) std::printf("%g ", each);
}}
"""
LIBRARY = """
#include "{header}"
{declared}
void {function}(float* out) {{
  float raw[1] = {{2}};
  jaxad_ae::evaluate(raw, out);
  {rest}
}}
"""


@compiles
@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_several_headers_in_one_program_keep_their_scores(tmp_path, level):
    """Two in one file, and two of one name in two shared libraries."""
    headers, names = [], ["jaxad_s1", "jaxad_s2", "jaxad_ae", "jaxad_ae"]
    for k, name in enumerate(names):
        knots = {"score": [0.0, 10.0 * (k + 1)], "fpr": [1.0, 0.5]}
        about = ABOUT | {"namespace": name, "fpr": ABOUT["fpr"] | {"knots": knots}}
        path = tmp_path / f"{k}.hpp"
        path.write_text(cpp.header(lambda x, k=k: jnp.tanh(x[:, 0]) * 0 + k, (1,), about))
        headers.append(path)
    rest = {"more": ("", ""), "others": ("void more(float* out);", "more(out + 3);")}
    for header, (function, (declared, call)) in zip(headers[2:], rest.items(), strict=True):
        text = LIBRARY.format(header=header, function=function, declared=declared, rest=call)
        (tmp_path / f"{function}.cpp").write_text(text)
    fields = dict(zip(("a", "b", "name_a", "name_b"), (*headers[:2], *names[:2]), strict=True))
    (tmp_path / "main.cpp").write_text(PROGRAM.format(**fields))
    command = ["g++", "-std=c++11", "-Wall", "-Werror", level]
    for function, needed in (("more", []), ("others", ["more"])):
        libraries = [str(tmp_path / f"lib{name}.so") for name in needed]
        source, library = (
            str(tmp_path / part) for part in (f"{function}.cpp", f"lib{function}.so")
        )
        shared = [*command, "-shared", "-fPIC", source, *libraries, "-o", library]
        subprocess.run(shared, check=True)
    libraries = [str(tmp_path / f"lib{name}.so") for name in ("others", "more")]
    program = str(tmp_path / "program")
    main_file = str(tmp_path / "main.cpp")
    subprocess.run([*command, main_file, *libraries, "-o", program], check=True)
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    found = np.array(printed.split(), float).reshape(4, 3)
    np.testing.assert_array_equal(found[:, 0], [0, 1, 3, 2])
    rates = [1 - found[k, 0] / (20 * (number + 1)) for k, number in enumerate((0, 1, 3, 2))]
    np.testing.assert_allclose(found[:, 1], rates, rtol=1e-6)


def test_every_export_has_a_name_of_its_own(monkeypatch):
    first, second = trigger_scorer("dense_ae"), trigger_scorer("dense_vae")
    names = {
        contract(scorer, run, fpr)["namespace"]
        for scorer, run, fpr in (
            (first, "ae", 0.01), (second, "ae", 0.01), (first, "ae", 0.02), (first, "é--2.1", 0.01),
            (first, "", 0.01),
        )
    }  # fmt: skip
    assert len(names) == 5 and all(re.fullmatch("jaxad(_[a-z0-9]+)+", name) for name in names)
    assert contract(first, "ae", 0.01, "tagger")["namespace"] == "tagger"
    monkeypatch.setattr("jaxad.export.contract.provenance", lambda: {"jax": "another machine's"})
    assert contract(first, "ae", 0.01)["namespace"] in names


@pytest.mark.parametrize(
    "name", ["", "2jets", "a-b", "a b", "é", "int", "a__b", "_a", "std", "a\n"]
)
def test_a_name_is_an_identifier(name, tmp_path, capsys):
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--name", name]) == 2
    error = capsys.readouterr().err
    assert "--name: expected an identifier" in error and error.count("\n") == 1


@compiles
def test_cpp_rates_and_flags(tmp_path):
    assert_rates_and_flags(compiled(lambda x: x[:, 0], (1,), tmp_path)(RAW))


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (lambda x: lax.top_k(x, 2)[0][:, 1], (5,), "'top_k'"),
        (lambda x: jnp.arange(9.0)[x[:, 0].astype(int)], (5,), "depend on the event"),
        (lambda x: lax.while_loop(lambda c: c[0] < 9, lambda c: c * 2, x[:, 0]), (5,), "'while'"),
        (lambda x: x.sum((1, 2)), (None, 3), "any number"),
        (lambda x: jnp.zeros(1), (5,), "does not depend"),
    ],
)
def test_cpp_refuses_what_it_cannot_express(function, shape, message):
    with pytest.raises(UserError, match=message):
        cpp.header(function, shape, ABOUT)


def test_knots_of_weighted_background():
    background = np.random.default_rng(0).normal(size=500).astype(np.float32)
    weight = 1.0 + np.arange(500) % 3
    points = knots(background, weight)
    for score, fpr in zip(points["score"], points["fpr"], strict=True):
        assert fpr == pytest.approx(weight[background >= score].sum() / weight.sum())
    points = knots(np.arange(6.0), np.array([-2.0, 1.0, 1.0, 2.0, 3.0, -1.0]))
    assert points == {"score": [*map(float, range(6))], "fpr": [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]}


def test_knots_follow_the_background_and_never_promise_too_little():
    background = np.sort(RNG.normal(size=5000)).astype(np.float32)
    points = knots(background)
    assert len(points["score"]) <= 64
    assert np.all(np.diff(points["score"]) > 0) and np.all(np.diff(points["fpr"]) < 0)
    assert points["fpr"][0] == 1 and points["fpr"][-1] == 1 / 5000
    for score in background[::97]:
        fraction = np.mean(background >= score)
        rate = np.interp(score, points["score"], points["fpr"])
        assert rate == pytest.approx(fraction, rel=0.2)
    tied = knots(np.repeat([0.0, 1.0, 2.0], [50, 30, 20]).astype(np.float32))
    assert tied == {"score": [0.0, 1.0, 2.0], "fpr": [1.0, 0.5, 0.2]}


def test_a_threshold_without_statistics_is_refused():
    with pytest.raises(UserError, match="larger rate"):
        contract(trigger_scorer("dense_ae", 500), "run", 0.01)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    scorer = trigger_scorer("dense_vae")
    scorer.save(folder / "run" / "scorer")
    np.save(folder / "events.npy", trigger_data(3000))
    formats = "cpp,stablehlo" if shutil.which("g++") else "stablehlo"
    command = [str(folder / "run"), "--format", formats, "--out", str(folder / "out")]
    pytest.importorskip("flatbuffers")
    assert main([*command, "--events", str(folder / "events.npy")]) == 0
    return folder, scorer


def test_verify_replays_golden_rows_and_a_file(exported, capsys):
    folder, _ = exported
    assert main(["verify", str(folder / "out"), "--events", str(folder / "events.npy")]) == 0
    printed = capsys.readouterr().out
    assert "stablehlo: agrees on 3000 events" in printed and "FAILED" not in printed


@pytest.mark.parametrize("within", [lambda f: f, jax.jit, lambda f: partial(lax.map, f)])
def test_programs_hold_no_parameters_that_the_score_does_not_need(within):
    pytest.importorskip("flatbuffers")
    used, unused = RNG.normal(size=(2, 5)), RNG.normal(size=(5, 1000))

    def score(x):
        both = within(lambda row: {"needed": row @ used.T, "other": jnp.tanh(row @ unused)})(x)
        return both["needed"].sum(axis=1)

    program = stablehlo.program(score, (5,))
    assert len(program) < 2 * unused.size  # bytes
    x = RNG.normal(size=(7, 5)).astype(np.float32)
    np.testing.assert_allclose(stablehlo.loaded(program)(x), score(x), rtol=1e-5)


def test_contract_says_what_a_trigger_needs(exported):
    folder, scorer = exported
    about = json.loads((folder / "out" / "export.json").read_text())
    assert about["input"]["shape"] == [19, 3] and about["input"]["units"][:3] == ["GeV", "", "rad"]
    assert about["input"]["features"][9 * 3] == "jet1.pt"
    assert about["score"]["name"] == "kl" and "larger" in about["score"]["direction"]
    assert about["threshold"] == scorer.threshold(0.01)["threshold"]
    assert about["fpr"]["n_calibration"] == 2000 and about["run_id"] == scorer.digest[:16]
    with np.load(folder / "out" / "golden.npz") as golden:
        assert golden["raw"].shape == (32, 19, 3) and golden["outputs"].shape == (32, 3)
        assert np.all(np.diff(golden["outputs"][:, 0]) >= 0)


def test_contract_names_every_number_of_ones_own_events():
    scorer = trigger_scorer("dense_ae")
    layout = dataclasses.replace(scorer.layout, objects=(), unit=1e-3)
    about = contract(dataclasses.replace(scorer, layout=layout), "run", 0.01)["input"]
    assert about["features"][:4] == [f"particle[{i}].{c}" for i, c in (
        (0, "pt"), (0, "eta"), (0, "phi"), (1, "pt")
    )]  # fmt: skip
    assert about["units"][:4] == ["0.001 GeV", "", "rad", "0.001 GeV"]


def test_loaded_export_keeps_the_scorers_contract(exported):
    folder, scorer = exported
    loaded, x = jaxad.load(folder / "out"), trigger_data(300)
    for n in (0, 1, 300):
        np.testing.assert_allclose(loaded(x[:n]), scorer(x[:n]), rtol=1e-5)
    np.testing.assert_allclose(jax.jit(loaded.fn)(loaded.params, x), scorer(x), rtol=1e-5)
    assert loaded.threshold(0.01) == scorer.threshold(0.01)
    with pytest.raises(UserError, match="expected shape"):
        loaded(x[:, :5])


def test_files_of_others_stay(exported, tmp_path, monkeypatch, capsys):
    run, events = str(exported[0] / "run"), str(exported[0] / "events.npy")
    command = ["--format", "stablehlo", "--events", events, "--out"]
    out = tmp_path / "out"
    (tmp_path / "link").symlink_to(out)
    shutil.copytree(exported[0] / "out", out)
    assert main([run, *command, str(tmp_path / "link"), "--name", "tagger"]) == 0
    about = json.loads((out / "export.json").read_text())
    assert about["namespace"] == "tagger" and (tmp_path / "link").is_symlink()
    assert "name in programs: tagger" in capsys.readouterr().out
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert written == set(about["files"])

    def refused(message, *arguments):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert main([*arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        assert before == {path: path.read_bytes() for path in before}

    refused("is an input", str(out), *command, str(out))
    refused("is an input", str(out), *command, str(tmp_path / "link"))
    refused("is an input", "quantize", str(out), "--out", str(tmp_path / "link"))
    golden = str(out / "golden.npz")
    refused("is an input", run, "--events", golden, "--key", "raw", "--out", str(out))
    monkeypatch.chdir(out)
    for here in (".", "..", str(out)):
        refused("the current folder is inside", run, *command, here)
    monkeypatch.chdir(tmp_path)
    for name in ("thesis.tex", "scorer/notes.txt"):
        (out / name).write_text("mine")
        refused(f"holds something else, {name}", run, *command, "out")
        (out / name).unlink()
    (out / "export.json").write_text('{"mine": 1}')
    refused("holds something else, export.json", run, *command, "out")


def spoil_header(folder: Path) -> str:
    text = (folder / "scorer.hpp").read_text()
    (folder / "scorer.hpp").write_text(text.replace("(raw)", "(raw) + 1.0f"))
    return "cpp: FAILED on 32 golden rows"


def spoil_golden(folder: Path) -> str:
    with np.load(folder / "golden.npz") as golden:
        np.savez(folder / "golden.npz", raw=golden["raw"] * 1.1, outputs=golden["outputs"])
    return "stablehlo: FAILED on 32 golden rows"


def drop_program(folder: Path) -> str:
    (folder / "scorer.stablehlo").unlink()
    return "stablehlo: FAILED: "


@pytest.mark.parametrize("spoil", [spoil_header, spoil_golden, drop_program])
def test_verify_notices_tampering(exported, tmp_path, capsys, spoil):
    copy = tmp_path / "copy"
    shutil.copytree(exported[0] / "out", copy)
    if spoil is spoil_header and not (copy / "scorer.hpp").exists():
        pytest.skip("g++ is not installed")
    message = spoil(copy)
    assert main(["verify", str(copy)]) == 1
    assert message in capsys.readouterr().out


def test_mistakes_are_named(exported, tmp_path, capsys):
    run = str(exported[0] / "run")
    (tmp_path / "thing.txt").write_text("mine")
    for arguments, message in (
        (["verify", str(tmp_path)], "no exported scorer here"),
        ([run, "--format", "onyx", "--out", str(tmp_path / "new")], "found 'onyx'"),
        ([run, "--out", str(tmp_path)], "holds something else"),
        ([run, "--out", str(tmp_path / "new"), "--events", "none.npy"], "none.npy: no such file"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "thing.txt").read_text() == "mine" and not (tmp_path / "new").exists()
