"""Observables of whatever callers give as arrays: any type of numbers, masks, shapes, text."""

import jax.numpy as jnp
import numpy as np
import pytest
from random_jets import random_jets

from jaxad.data.particles import jet_observables
from jaxad.errors import UserError
from jaxad.observables import images
from jaxad.observables import kinematics as kin
from jaxad.observables.efp import compute_efps, efp_function
from jaxad.observables.ordering import ado_with_error, decision_ordering
from jaxad.observables.substructure import n_subjettiness

GRAPHS = [((0, 1),), ((0, 1), (0, 1)), ((0, 1), (1, 2))]


@pytest.fixture(scope="module")
def jets():
    """Jets (20, 8, 3) of whole numbers, angles included, which every type below holds exactly."""
    x = np.rint(random_jets(0, 20, 8, pt_jet=400) * np.float32([1, 2, 1]))
    return np.minimum(x * (x[..., :1] > 0), 120)


def efps(x):
    return compute_efps(GRAPHS, x)


def taus(x):
    pytest.importorskip("fastjet")
    return n_subjettiness(x, max_n=2)


def of_jets(x):
    return np.stack(list(jet_observables(x).values()), 1)


HOST = {"EFPs": efps, "N-subjettiness": taus, "jet observables": of_jets}
ON_DEVICE = {
    "EFPs": efp_function(GRAPHS),
    "mass": kin.jet_mass,
    "jet": kin.jet_ptetaphi,
    "four-momenta": lambda x: kin.ptetaphi_to_epxpypz(x, mass=0.5),
    "multiplicity": kin.multiplicity,
    "relative": kin.relative,
    "image": lambda x: images.jet_image(x, n_pixels=6, half_width=3.0),
    "aligned": lambda x: images.jet_image(x, n_pixels=6, half_width=3.0, align=True),
}
TYPES = ("i1", "i2", "i8", "f2", "f8")


@pytest.mark.parametrize("name", HOST)
def test_any_numbers_give_the_same_observables(jets, name):
    expected = HOST[name](jets)
    assert np.isfinite(expected).all() and (expected > 0).any()
    steps = np.repeat(jets, 2, axis=0)[::2]
    given = [*(jets.astype(kind) for kind in TYPES), jets.astype(">f4"), jets.astype(">i2")]
    for x in (*given, steps, np.asfortranarray(jets), jets.tolist(), jnp.asarray(jets)):
        np.testing.assert_allclose(HOST[name](x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ON_DEVICE)
def test_any_numbers_give_the_same_values_on_a_device(jets, name):
    expected = ON_DEVICE[name](jets)
    for kind in TYPES:
        found = ON_DEVICE[name](jets.astype(kind))
        assert found.dtype in (jnp.float32, jnp.float64)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_cells_of_bytes_and_halves():
    cells = np.full((3, 1, 286, 360), 200)
    expected = images.from_cells(*cells.astype(np.float32))
    assert expected.max() == 5000
    for kind in ("u1", "f2", "i8"):
        np.testing.assert_array_equal(images.from_cells(*cells.astype(kind)), expected)
    assert np.isfinite(images.from_cells(*(300 * cells).astype("f2"))).all()


@pytest.mark.parametrize("name", HOST)
def test_masked_particles_are_padding(jets, name):
    empty = np.broadcast_to(jets[..., :1] == 0, jets.shape)
    expected = HOST[name](jets)
    for garbage in (-999.0, 1e9):
        masked = np.ma.masked_array(np.where(empty, garbage, jets), empty)
        np.testing.assert_array_equal(HOST[name](masked), expected)
    one = np.zeros(jets.shape, bool)
    one[4, 1, 2] = True
    with pytest.raises(UserError, match=rf"{name}: particles: \[4, 1\]: found some numbers masked"):
        HOST[name](np.ma.masked_array(jets, one))


@pytest.mark.parametrize("name", HOST)
def test_angles_in_padding_do_not_count(jets, name):
    odd = np.where(jets[..., :1] > 0, jets, np.float32((0, -999, 99)))
    np.testing.assert_allclose(HOST[name](odd), HOST[name](jets), rtol=1e-6)


@pytest.mark.parametrize("name", HOST)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], r"particles must be \(N, n, 3\)"),
        (lambda x: x[..., :2], r"found shape \(20, 8, 2\)"),
        (lambda x: x[None], r"found shape \(1, 20, 8, 3\)"),
        (lambda x: [x[0].tolist(), x[1, :3].tolist()], "found rows of different lengths"),
        (lambda x: x.astype(str), "found <U"),
        (lambda x: x.astype(complex), "found complex"),
        (lambda x: x[..., [1, 2, 0]], r"a pT below 0 or NaN: are the columns \(pT, eta, phi\)"),
        (lambda x: np.where(x == x.max(), np.nan, x), "a pT below 0 or NaN"),
    ],
)
def test_other_arrays_are_refused_in_one_line(jets, name, change, message):
    with pytest.raises(UserError, match=f"{name}: .*{message}") as error:
        HOST[name](change(jets))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ON_DEVICE)
def test_other_columns_are_refused_on_a_device(jets, name):
    for wrong in (jets[..., :2], np.zeros((2, 3, 5), np.float32)):
        with pytest.raises(UserError, match=r"particles: expected shape \(..., 3\).*found"):
            ON_DEVICE[name](wrong)
    with pytest.raises(UserError, match="expected shape"):
        kin.epxpypz_to_ptetaphi(jets)
    with pytest.raises(UserError, match="found list"):
        kin.multiplicity(jets.tolist())


def test_decision_ordering_of_any_numbers():
    rng = np.random.default_rng(0)
    teacher, scores = rng.integers(0, 100, 50), rng.integers(0, 100, (50, 2))
    expected = decision_ordering(teacher.astype(float), scores.astype(float))
    for kind in ("i1", "u1", "f2", ">i4"):
        np.testing.assert_array_equal(
            decision_ordering(teacher.astype(kind), scores.astype(kind)), expected
        )
    np.testing.assert_array_equal(decision_ordering(teacher.tolist(), scores.tolist()), expected)
    masked = np.ma.masked_less(scores, 10)
    with pytest.raises(UserError, match=r"decision ordering: scores: found \d+ masked values"):
        decision_ordering(teacher, masked)
    with pytest.raises(UserError, match=r"ordering: teacher: .* different lengths"):
        decision_ordering([[1], [1, 2]], scores)
    with pytest.raises(UserError, match=r"ordering: teacher: .* found list of <U1"):
        ado_with_error(list("abc"), [1, 2, 3])
