"""One physical sample in every layout, type, order, unit, padding and path: the same scores.

From the file a training reads, `jaxad score`, `scorer(x)` and exports; or refused in one line where
docs/data.md says so.

    JAXAD_FUZZ=150 python -m pytest tests/test_semantics.py -s

tries 150 variants of each reader and prints the table of docs/robustness.md.
"""

import os
import shutil
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import semantic_samples
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from published_cases import PUBLISHED
from semantic_bench import Bench
from semantic_cases import OWN, four_momenta
from semantic_samples import Written
from stored_variants import Variants, at_home, container, write_arrays

from jaxad import data
from jaxad.commands import score
from jaxad.data.layout import PARTICLES, Layout
from jaxad.data.ragged import FIELDS
from jaxad.errors import UserError
from jaxad.export import verify

N_EXAMPLES = int(os.environ.get("JAXAD_FUZZ", "2"))
CASES = OWN | PUBLISHED
NEEDS = {
    "own ROOT trees, scored": ("uproot",),
    "lhco, raw events": ("fastjet",),
    **dict.fromkeys(("toptagging", "lhco, features"), ("tables",)),
}
AXES = {
    "type": ("type", "mass type", "label type"),
    "memory": ("memory",),
    "file": (
        *("container", "compression", "array container", "array compression", "frame", "tree"),
        *("split", "files", "ending", "names", "rows"),
    ),
    "shape": ("label shape", "mass shape", "channels", "n_constituents", "jets an event", "mass"),
    "order": ("particles", "columns", "more columns"),
    "padding": ("slots", "padding"),
    "phi": ("phi",),
    "unit": ("unit",),
    "name": ("key", "array key", "labels", "branches"),
    "path": ("name", "path", "parts", "source"),
    "input": ("input", "sample"),
    "scorer": ("given as", "export"),
}
"""Columns of the table: the axes of variants of each."""
FORMATS = ("stablehlo", "folder", "onnx", "cpp")
TABLE: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module", autouse=True)
def table():
    """Prints how many variants of each kind every reader was given, after the last case."""
    yield
    lines = [["reader", *AXES], ["---"] * (1 + len(AXES))]
    for reader, chosen in TABLE.items():
        counts = [sum(len(chosen[axis]) for axis in axes) for axes in AXES.values()]
        lines.append([reader, *(str(n or "") for n in counts)])
    print("", *(f"| {' | '.join(line)} |" for line in lines), sep="\n")


def assert_close(found, expected, tolerance, what):
    error = np.abs(found - expected) / (np.abs(expected) + np.std(expected))
    assert error.max() < tolerance, f"{what}: {error.max():.2g} at {np.argmax(error)}"


def matched(found, expected, tolerance):
    """Number of the event of each score, every event at most once."""
    index = np.abs(found[:, None] - expected).argmin(1)
    assert_close(found, expected[index], tolerance, "training file")
    assert len(set(index.tolist())) == len(index), "an event is read twice"
    return index


def given_as(v: Variants, x: np.ndarray, layout: Layout):
    """x in a form that scorers take, and whether they may refuse it instead."""
    forms = {"NumPy": lambda: x, "JAX": lambda: jnp.asarray(x.astype(np.float32)), "list": x.tolist}
    if layout.format in PARTICLES:
        there = x[..., 0] > 0
        junk = np.where(there[..., None], x, np.asarray([3, 1, 1, 1][: x.shape[-1]], x.dtype))
        hidden = np.broadcast_to(~there[..., None], x.shape)
        forms["masked"] = lambda: np.ma.masked_array(junk, hidden)
    if layout.format in PARTICLES and layout.shape[0] != 19 and find_spec("awkward"):
        import awkward

        columns = dict(zip(FIELDS[layout.format], range(4), strict=False))
        events = [event[present].tolist() for event, present in zip(x, there, strict=True)]
        jagged = awkward.Array(events)
        forms["awkward"] = lambda: jagged
        forms["records"] = lambda: awkward.zip({c: jagged[..., i] for c, i in columns.items()})
    given = v.pick("given as", forms)()
    return given, v.chosen["given as"] == "masked"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("semantics") / "here"


@pytest.mark.parametrize("reader", CASES)
@settings(
    max_examples=N_EXAMPLES, derandomize=True, deadline=None, database=None,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(choices=st.data())
def test_the_same_scores_from_file_array_and_export(bench, place, reader, choices):
    for library in NEEDS.get(reader, ()):
        pytest.importorskip(library)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    v = Variants(choices.draw)
    written = CASES[reader](v, place)
    with at_home(place):
        check(bench, v, written)
    for axis, name in v.chosen.items():
        TABLE[reader][axis].add(name)


def scored(run: Path, scorer, arguments: list[str], expected: np.ndarray, tolerance: float) -> None:
    """`jaxad score` gives the expected scores."""
    out = run / "scores.h5"
    out.unlink(missing_ok=True)
    # What `load` gave, so that a program is compiled once a run.
    with patch.object(score, "load", lambda _: scorer):
        assert score.main([str(run), *arguments, "--out", str(out)]) == 0
    with h5py.File(out) as file:
        assert_close(file[scorer.names[0]][:], expected, tolerance, f"score {arguments[-1]}")


def check(bench: Bench, v: Variants, written: Written) -> None:
    order = slice(None) if written.index is None else written.index
    expected = bench.expected(written.sample, written.method)[order]
    section = data.get_config(**written.settings, cache=bench.cache)
    dataset = data.load(section)
    run, scorer = bench.run(written.sample, written.method, dataset.layout, section)

    for part, rows in dataset.parts():
        index = matched(scorer(rows["x"]), expected, written.tolerance)
        label = part.startswith("signals") if "window" not in dataset.info else rows["label"]
        np.testing.assert_array_equal(written.signal[index], label)
        if "mass" in rows:
            mass = bench.mass(written.sample)[order][index]
            assert_close(rows["mass"], mass, written.tolerance, "mass [GeV]")
    n_read = sum(len(rows["x"]) for _, rows in dataset.parts())
    assert n_read == len(expected) or not written.all_read

    more = ["--branches", written.branches] if written.branches else []
    scored(run, scorer, [*written.files, *more], expected, written.tolerance)
    (suffix, compression), key = container(v, of="array "), v.pick("array key", ("x", "p/q"))
    Path("arrays").mkdir()
    path = Path("arrays", f"a.{suffix}")
    write_arrays(path, {key: written.x}, compression)
    scored(run, scorer, [str(path), "--key", key], expected, written.tolerance)

    x, may_be_refused = given_as(v, written.x, dataset.layout)
    try:
        assert_close(scorer(x), expected, written.tolerance, "scorer(x)")
    except UserError:
        if not may_be_refused:
            raise
    forms = [form for form in FORMATS if form != "cpp" or None not in scorer.shape]
    runtime = bench.exported(run, scorer, written.x, v.pick("export", forms))
    if runtime:
        found = runtime(written.x)
        assert_close(found, expected, max(written.tolerance, verify.TOLERANCE), "export")
    missing = set(v.chosen) - {axis for axes in AXES.values() for axis in axes}
    assert not missing


# What docs/data.md says is refused ----------------------------------------------------------------

JETS, FOUR = semantic_samples.jet_sample, lambda: four_momenta(semantic_samples.jet_sample())
IMAGES, ROWS = semantic_samples.image_sample, semantic_samples.table_sample
BAD = {
    "eta, phi, pT": ("ptetaphi", lambda: JETS()[..., [1, 2, 0]]),
    "phi, eta, pT": ("ptetaphi", lambda: JETS()[..., ::-1]),
    "a pT below 0": ("ptetaphi", lambda: JETS() * (-1, 1, 1)),
    "degrees": ("ptetaphi", lambda: JETS() * (1, 1, 180 / np.pi)),
    "too many columns": ("ptetaphi", FOUR),
    "NaN": ("ptetaphi", lambda: np.where(JETS() == JETS().max(), np.nan, JETS())),
    "beyond float32": ("ptetaphi", lambda: JETS() * 1e300),
    "text": ("ptetaphi", lambda: JETS().astype("S")),
    "complex": ("ptetaphi", lambda: JETS() + 0j),
    "px, py, pz, E": ("epxpypz", lambda: np.roll(FOUR(), -1, axis=-1)),
    "an energy below 0": ("epxpypz", lambda: FOUR() * (-1, 1, 1, 1)),
    "too few columns": ("epxpypz", JETS),
    "one row": ("image", lambda: IMAGES()[:, 0]),
    "one axis too many": ("image", lambda: IMAGES()[..., None, None]),
    "one number": ("features", lambda: ROWS()[:, 0]),
}
PLAIN = {
    "ptetaphi": ("jets", "observables", JETS),
    "epxpypz": ("jets", "observables", FOUR),
    "image": ("images", "fraction", IMAGES),
    "features": ("dijets", "features", lambda: ROWS()[:, 1:]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_is_refused_by_file_command_and_scorer(bench, tmp_path, name, capsys):
    form, make = BAD[name]
    sample, method, sound = PLAIN[form]
    section = data.get_config("events", format=form, source=str(tmp_path / "sound.npy"))
    np.save(tmp_path / "sound.npy", sound())
    run, scorer = bench.run(sample, method, data.load(section).layout, section)
    bad = make()
    with pytest.raises(UserError) as refused:
        scorer(bad)
    messages = [str(refused.value)]
    for kind in ("npz", "npy", "h5"):
        path = tmp_path / f"bad.{kind}"
        write_arrays(path, {"x": bad}, "contiguous" if kind == "h5" else kind)
        section.source = str(path)
        with pytest.raises(UserError) as refused:
            data.load(section)
        with patch.object(score, "load", lambda _: scorer):
            assert score.main([str(run), str(path), "--out", str(tmp_path / "s.h5")]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert path.name in str(refused.value) and path.name in said
        messages += [str(refused.value), said]
    assert all("\n" not in message for message in messages)
