"""What scorers take and refuse: types, masks, orders of columns, units, copies, forks."""

import copy
import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from random_scorers import (
    PREPARED,
    classifier_scorer,
    jet_scorer,
    jets,
    trigger_data,
    trigger_scorer,
)

from jaxad import inputs
from jaxad.data.layout import Layout
from jaxad.data.raw_events import first_impossible, trained_energies
from jaxad.errors import UserError
from jaxad.observables.derived import DIJET_COLUMNS
from jaxad.scorer import Scorer, load

N = 300
FOUR = Layout("epxpypz", (12, 4))


@pytest.fixture(scope="module")
def scorer():
    return trigger_scorer()


@pytest.fixture(scope="module")
def whole():
    """Trigger events (N, 19, 3) of whole numbers, which every type below holds exactly."""
    return np.rint(trigger_data(N))


def refused(scorer, x, message):
    with pytest.raises(UserError, match=message) as error:
        scorer(x)
    assert "\n" not in str(error.value)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


TYPES = {
    **{kind: lambda x, kind=kind: x.astype(kind) for kind in ("i2", ">i4", "i8", "f2", ">f8", "g")},
    "column order": np.asfortranarray,
    "steps": lambda x: np.repeat(x, 2, axis=0)[::2],
    "read only": read_only,
    "list": lambda x: x.tolist(),
    "list of arrays": list,
    "jax": jnp.asarray,
    "jax integers": lambda x: jnp.asarray(x, jnp.int16),
}


@pytest.mark.parametrize("name", TYPES)
def test_any_type_gives_the_same_scores(scorer, whole, name):
    np.testing.assert_array_equal(scorer(TYPES[name](whole)), scorer(whole))


def test_inside_jit_its_function_is_named(scorer, whole):
    for function in (jax.jit(scorer), jax.jit(lambda x: scorer.scores(x))):
        refused(function, whole, r"input: traced; inside jit.* call scorer.fn\(params, x\)")


def test_half_precision_of_jax_is_taken_as_it_is(scorer, whole):
    half = jnp.asarray(whole, jnp.bfloat16)
    np.testing.assert_array_equal(scorer(half), scorer(np.asarray(half, np.float32)))


MASKED = {
    "particles": lambda x, empty: np.ma.masked_array(np.where(empty, -999.0, x), empty),
    "integers": lambda x, empty: np.ma.masked_array(
        np.where(empty, np.iinfo(np.int64).max, x.astype(np.int64)), empty
    ),
    "nothing": lambda x, empty: np.ma.masked_array(x),
    "list": lambda x, empty: list(np.ma.masked_array(np.where(empty, 7, x), empty)),
}


@pytest.mark.parametrize("name", MASKED)
def test_masked_particles_are_padding(scorer, whole, name):
    empty = np.broadcast_to(whole[..., :1] == 0, whole.shape)
    masked = MASKED[name](whole, empty)
    np.testing.assert_array_equal(scorer(masked), scorer(whole))
    for key, values in scorer.scores(masked).items():
        np.testing.assert_array_equal(values, scorer.scores(whole)[key])


def test_other_masks_are_refused(scorer, whole):
    one = np.zeros(whole.shape, bool)
    one[3, 2, 1] = True
    refused(scorer, np.ma.masked_array(whole, one), r"input: \[3, 2\]: found some numbers masked")
    rows = np.ma.masked_array(np.ones((4, 5)), np.eye(4, 5, dtype=bool))
    refused(classifier_scorer(), rows, "input: found 4 masked values: leave such rows out")


ORDERS = {
    "jetnet": (lambda x: x[..., [1, 2, 0]], r"a pT below 0.*\(eta, phi, pT\).*\[2, 0, 1\]"),
    "eta, pT": (lambda x: abs(x[..., [1, 0, 2]]), "an eta with an energy above 1e8 GeV"),
    "phi as pT": (lambda x: abs(x[..., [2, 1, 0]]), "a phi beyond 4 pi"),
    "negative": (lambda x: -x, "a pT below 0: are the columns pT, eta, phi"),
    "negative pT": (lambda x: x * np.float32((-1, 1, 1)), "a pT below 0"),
    "huge": (lambda x: np.where(x == x.max(), 1e20, x), "a pT above 1e8 GeV"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_particles_that_cannot_be_are_refused(scorer, name):
    change, message = ORDERS[name]
    x = change(trigger_data(N)).astype(np.float32)
    for given in (x, jnp.asarray(x)):
        refused(scorer, given, r"input: event \d+ holds " + message)


def test_jets_that_no_fastjet_takes_are_refused_in_one_line():
    pytest.importorskip("fastjet")
    x = jets(20, 12)
    changes = {"inputs": inputs.get_config("jet_observables", max_degree=0, n_taus=1)}
    stage = inputs.stage(changes["inputs"], FOUR, ("vector",), "pca")
    params = {"mean": np.zeros(4), "components": np.eye(4)[:1]}
    params["inputs"] = stage.fit(np.asarray(stage.values(x)))
    scorer = Scorer("pca", ConfigDict(changes), params, FOUR)
    assert np.isfinite(scorer(x)).all()
    for place, value, message in (
        (0, -5, "an energy below the"),
        (0, np.nan, "NaN"),
        (2, 9e9, "an"),
    ):
        bad = x.copy()
        bad[3, 0, place] = value
        refused(scorer, bad, f"input: event 3 holds {message}")


def test_angles_go_round_and_padding_holds_anything(scorer):
    x = trigger_data(N)
    padded = np.where(x[..., :1] > 0, x, np.float32((0, -999, -999)))
    np.testing.assert_array_equal(scorer(padded), scorer(x))
    assert first_impossible(scorer.layout, x + np.float32((0, 0, 6.82))) is None
    far = np.float32([[[1e-6, 19.0, 0.0]]])  # 90 GeV along the beam
    assert first_impossible(Layout("ptetaphi", (1, 3)), far) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[..., [1, 2, 3, 0]], r"below the momentum.*\(px, py, pz, E\).*\[3, 0, 1, 2\]"),
        (lambda x: -x, "an energy below the momentum: are the columns E, px, py, pz.$"),
        (lambda x: x * np.float32(1e20), "an energy above 1e8 GeV"),
    ],
)
def test_four_momenta_that_cannot_be_are_refused(change, message):
    jet, x = jet_scorer(), jets(20, 10)
    refused(jet, change(x), "input: event 0 holds an? .*" + message.removeprefix("an "))
    assert jet(x[:, :0]).shape == (20,)


def test_pixels_that_cannot_be():
    layout = Layout("image", (3, 3), energies=True)
    images = np.ones((100_000, 3, 3), np.float32)
    images[70_001, 1, 1] = -1
    assert first_impossible(layout, images) == (70_001, "a pixel below 0: are they energies?")
    assert first_impossible(layout, images * -1e20)[0] == 0
    assert first_impossible(dataclasses.replace(layout, energies=False), images) is None


SHAPES = {
    "axis more": (lambda x: x[None], r"expected shape \(n, 19, 3\).*there is an axis more"),
    "axis less": (lambda x: x[0], r"one event needs a leading axis: x\[None\]"),
    "number": (lambda x: 3.0, r"found \(\)"),
    "empty list": (lambda x: [], r"found \(0,\)"),
    "ragged": (lambda x: [x[0].tolist(), x[1, :3].tolist()], "rows of different lengths"),
    "text": (lambda x: x.astype(str), "expected real numbers of shape .* found <U"),
    "objects": (lambda x: x.astype(object), "found object"),
    "None": (lambda x: None, "found NoneType of object"),
    "dictionary": (lambda x: {"x": x}, "found dict of object"),
    "complex": (lambda x: x.astype(complex), "found complex128"),
    "fields": (lambda x: np.zeros(3, [("pt", "f4"), ("eta", "f4")]), "found .*pt"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_and_types_are_named(scorer, whole, name):
    change, message = SHAPES[name]
    refused(scorer, change(whole), "input: .*" + message)


class Frame:
    """Columns with names, as a data frame has them."""

    def __init__(self, columns, values):
        self.columns, self._values = columns, values

    def __array__(self, dtype=None, copy=None):
        return self._values


def test_columns_of_a_frame_are_those_of_the_training():
    scorer, x = classifier_scorer(), np.ones((4, 5))
    names = [name for name, _ in PREPARED.columns]
    np.testing.assert_array_equal(scorer(Frame(names, x)), scorer(x))
    np.testing.assert_array_equal(scorer(Frame(range(5), x)), scorer(x))
    refused(scorer, Frame(names[::-1], x), "expected the columns mjj, mJ1, .*, found tau21_J2, ")


# Units ------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
TWO_JETS = Layout("features", (14,), columns=DIJET_COLUMNS)


def prepared(n):
    """Rows (n, 5) of (mjj, mJ1, dmJ [TeV], tau21, tau21)."""
    mass = 2 + RNG.exponential(0.8, n)
    rest = RNG.uniform(0, 1, (4, n)) * np.array([[0.2], [0.5], [1], [1]])
    return np.column_stack([mass, *rest]).astype(np.float32)


def dijets(n):
    """Rows (n, 14) of two jets back to back, above 1.2 TeV, columns DIJET_COLUMNS [GeV]."""
    pt, phi = 1200 + RNG.exponential(300, n), RNG.uniform(-3, 3, n)
    pz, masses = RNG.normal(0, 800, (2, n)), RNG.exponential(100, (2, n))
    taus = RNG.uniform(0, 1, (3, n))
    jets = [
        np.column_stack([s * pt * np.cos(phi), s * pt * np.sin(phi), pz[i], masses[i], *taus])
        for i, s in enumerate((1, -1))
    ]
    return np.hstack(jets).astype(np.float32)


IN_GEV = np.float32([1000, 1000, 1000, 1, 1])
ENERGIES = np.float32(np.tile([1, 1, 1, 1, 0, 0, 0], 2))


def searching(layout, x):
    """CATHODE, trained on rows like x."""
    scorer = dataclasses.replace(classifier_scorer(), layout=layout)
    return dataclasses.replace(scorer, info={"energies": trained_energies(layout, x)})


def test_a_search_refuses_another_unit_and_no_tails(tmp_path):
    scorer, x = searching(PREPARED, prepared(5000)), prepared(1000)
    scorer.save(tmp_path / "scorer")
    for again in (scorer, load(tmp_path)):
        for scale in (IN_GEV, 1 / IN_GEV):
            for rows in (x, x[:1], jnp.asarray(x)):
                refused(again, rows * scale, r"input: .*mjj.*: expected .* TeV, .* found a median")
        refused(again, x * np.float32([1, 1000, 1, 1, 1]), "input: mJ1: expected up to .* TeV")
        refused(again, x * np.float32(1e20), "input: event 0 holds mjj beyond 1e8 GeV: .* TeV")
        tails = x * np.float32([4, 10, 10, 50, 50])
        np.testing.assert_array_equal(again(tails), scorer(tails))
    assert len(scorer(x[:0])) == 0


def test_rows_of_jets_are_in_gev():
    layout = dataclasses.replace(TWO_JETS, derived={"name": "dijet"}, mass="mjj")
    scorer, x = searching(layout, dijets(5000)), dijets(500)
    assert np.isfinite(scorer(x)).all()
    for factor in (1e3, 1e-3):
        scale = np.where(ENERGIES > 0, factor, 1).astype(np.float32)
        refused(scorer, x * scale, r"input: .*pxj1.*: expected .* GeV, .* found a median of")
    for event in x:  # also those with a component near 0
        scorer(event[None])


def test_particles_are_in_the_unit_of_the_training():
    for unit, name in ((1.0, "GeV"), (1e-3, "MeV")):
        layout, x = Layout("epxpypz", (200, 4), unit=unit), jets(N, 20) / np.float32(unit)
        scorer = dataclasses.replace(jet_scorer(), layout=layout)
        scorer = dataclasses.replace(scorer, info={"energies": trained_energies(layout, x)})
        assert np.isfinite(scorer(x)).all() and np.isfinite(scorer(0 * x)).all()
        for factor in (1e3, 1e-3):
            message = f"input: the largest E: expected .* {name}, .*: give it in {name}"
            refused(scorer, x * np.float32(factor), message)


# Copies and processes ---------------------------------------------------------------------------


def test_copies_of_a_used_scorer_give_its_scores(scorer, whole):
    expected, cut = scorer.scores(whole), scorer.threshold(0.05)
    for again in (pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer), copy.copy(scorer)):
        assert again.digest == scorer.digest and again.threshold(0.05) == cut
        for name, values in again.scores(whole).items():
            np.testing.assert_array_equal(values, expected[name])


FORKED = """
import multiprocessing, sys
import numpy as np
from jaxad import UserError, load
from jaxad.devices.batches import in_batches

scorer, x = load(sys.argv[1]), np.ones((3, 5), np.float32)
calls = {"in_batches": lambda: in_batches(lambda a: a + 1, x, "sums"), "scorer": lambda: scorer(x)}

def compute(queue):
    for name, call in calls.items():
        try:
            queue.put(f"{name}: {np.sum(call()):.3f}")
        except UserError as error:
            queue.put(f"{name}: {error}")

def in_a_child():
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    process = fork.Process(target=compute, args=(queue,))
    process.start()
    process.join(60)
    process.kill()
    return queue

queues = in_a_child(), multiprocessing.get_context("fork").SimpleQueue()
compute(queues[1])
for queue in (*queues, in_a_child()):
    for name in calls:
        print(queue.get() if not queue.empty() else f"{name}: hangs")
"""


def test_a_forked_process_scores_or_says_why_not(tmp_path):
    classifier_scorer().save(tmp_path / "scorer")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path)]
    said = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    before, here, after = np.reshape(said.stdout.splitlines(), (3, 2)).tolist()
    assert before == here and here[0] == "in_batches: 30.000"
    for line, name in zip(after, ("in_batches", "scorer"), strict=True):
        assert line.startswith(f"{name}: this process was forked after JAX had started")
        assert 'get_context("spawn")' in line
