"""EFPs against EnergyFlow and against the definition; invariances, gradients, bulk, drawing."""

import itertools

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_jets import random_jets

from jaxad.errors import UserError
from jaxad.observables.efp import compute_efps, efp_function
from jaxad.observables.efp_plan import components, make_plan
from jaxad.observables.graphs import (
    draw_graph,
    formula,
    import_energyflow,
    select_graphs,
    standard_graphs,
)

BY_HAND = {
    "edge": ((0, 1),),
    "doubled edge": ((0, 1), (0, 1)),
    "wedge": ((0, 1), (0, 2)),
    "triangle with a leaf": ((0, 1), (1, 2), (0, 2), (2, 3)),
    "square, one side doubled": ((0, 1), (1, 2), (2, 3), (3, 0), (3, 0)),
    "K4": tuple(itertools.combinations(range(4), 2)),
    "edge times wedge": ((0, 1), (2, 3), (3, 4)),
    "constant": (),
}


@pytest.fixture(scope="module")
def energyflow():
    try:
        return import_energyflow()
    except UserError as error:
        pytest.skip(str(error))


def reference(energyflow, graphs, particles, beta=1.0):
    efpset = energyflow.EFPSet(*graphs.values(), measure="hadr", beta=beta, coords="ptyphim")
    return np.array([efpset.compute(jet[jet[:, 0] > 0].astype(np.float64)) for jet in particles])


def evaluate(graphs, particles, beta=1.0):
    return np.asarray(jax.jit(efp_function(graphs, beta))(particles))


def assert_agrees(graphs, particles, expected, beta=1.0):
    """1e-5 in float32 and 1e-12 in float64, zeros (too few particles) exactly zero."""
    single = evaluate(graphs, particles, beta)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-30)
    with jax.enable_x64(True):
        double = evaluate(graphs, particles.astype(np.float64), beta)
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, expected, rtol=1e-12, atol=1e-30)


@pytest.mark.parametrize("beta", [1.0, 2.0, 0.7])
def test_definition(beta):
    """The sum of eq. 1.1 written out, particle by particle."""
    particles = random_jets(0, n_jets=3, n_particles=6)
    expected = []
    for jet in particles.astype(np.float64):
        z = jet[:, 0] / jet[:, 0].sum()
        d_phi = np.abs(jet[:, None, 2] - jet[:, 2])
        d_phi = np.minimum(d_phi, 2 * np.pi - d_phi)
        theta = np.hypot(jet[:, None, 1] - jet[:, 1], d_phi) ** beta
        row = []
        for edges in BY_HAND.values():
            n_vertices = 1 + max((max(edge) for edge in edges), default=-1)
            terms = (
                np.prod(z[list(i)]) * np.prod([theta[i[a], i[b]] for a, b in edges])
                for i in itertools.product(range(len(z)), repeat=n_vertices)
            )
            row.append(sum(terms))
        expected.append(row)
    assert_agrees(BY_HAND, particles, np.array(expected), beta)


def test_number_of_graphs(energyflow):
    """Section 3.3 of arXiv:1712.07124, less the constant."""
    found = {d: (len(standard_graphs(d, False)), len(standard_graphs(d))) for d in (3, 4, 5, 6, 7)}
    assert found == {3: (12, 8), 4: (35, 20), 5: (101, 53), 6: (313, 156), 7: (999, 489)}
    assert list(standard_graphs(2)) == ["efp_2_1_0", "efp_2_2_0", "efp_3_2_0"]
    assert select_graphs("d==2", "p>1") == {"efp_2_1_0*efp_2_1_0": ((0, 1), (2, 3))}
    with pytest.raises(UserError, match="not understood"):
        select_graphs("d<=3", "size==1")


def test_all_graphs_to_degree_5_equal_energyflow(energyflow):
    graphs = standard_graphs(5, prime=False)
    particles = random_jets(1, n_jets=12, n_particles=30)
    assert (particles[..., 0] == 0).any()
    assert_agrees(graphs, particles, reference(energyflow, graphs, particles))


def test_sample_of_degree_7_equals_energyflow(energyflow):
    every = select_graphs("d<=7")
    picked = list(every)[5::97] + list(select_graphs("d<=7", "c>=4"))
    graphs = {name: every[name] for name in picked}
    particles = random_jets(2, n_jets=6, n_particles=12)
    assert_agrees(graphs, particles, reference(energyflow, graphs, particles))


def test_real_jets_equal_energyflow(energyflow, shared_data):
    with h5py.File(shared_data / "jets_hls4ml_20k.h5") as file:
        particles = file["constituents"][:20]
    graphs = standard_graphs(3, prime=False)
    assert_agrees(graphs, particles, reference(energyflow, graphs, particles))
    assert_agrees(graphs, particles, reference(energyflow, graphs, particles, 0.5), 0.5)


def test_complete_graph_of_five_pins_two_particles(energyflow):
    graphs = {"K5": tuple(itertools.combinations(range(5), 2))}
    assert {node.depth for node in make_plan(list(graphs.values())).nodes.values()} == {0, 1, 2}
    particles = random_jets(3, n_jets=4, n_particles=8)
    assert_agrees(graphs, particles, reference(energyflow, graphs, particles))


def test_invariances():
    """Rotations about the beam, boosts along it, a common scale, order, padding, splitting."""
    particles = random_jets(4, n_jets=20, n_particles=20)
    before = evaluate(BY_HAND, particles)
    present = particles[..., :1] > 0
    moved = (particles + np.array([0, 0.7, 2.9], np.float32) * present) * np.array([3, 1, 1])
    np.testing.assert_allclose(evaluate(BY_HAND, moved.astype(np.float32)), before, rtol=2e-5)
    shuffled = particles[:, np.random.default_rng(0).permutation(20)]
    padded = np.concatenate([shuffled, np.zeros_like(shuffled)], axis=1)
    np.testing.assert_allclose(evaluate(BY_HAND, padded), before, rtol=1e-5)
    halves = np.concatenate([particles, particles], axis=1) * np.array([0.5, 1, 1], np.float32)
    np.testing.assert_allclose(evaluate(BY_HAND, halves), before, rtol=1e-5)  # collinear safety


def test_gradients_are_finite_and_right():
    graphs = {name: BY_HAND[name] for name in ("triangle with a leaf", "K4")}
    particles = random_jets(5, n_jets=4, n_particles=8)
    particles[0] = 0
    total = jax.jit(lambda x: efp_function(graphs, 0.7)(x).sum())
    assert np.isfinite(jax.grad(total)(jnp.asarray(particles))).all()
    with jax.enable_x64(True):
        x = jnp.asarray(particles[1:2], dtype=float)
        direction = np.random.default_rng(0).normal(size=x.shape) * (np.asarray(x[..., :1]) > 0)
        numerical = (total(x + 1e-6 * direction) - total(x - 1e-6 * direction)) / 2e-6
        found = (jax.grad(total)(x) * direction).sum()
        np.testing.assert_allclose(found, numerical, rtol=1e-6, atol=1e-9)


def test_bulk_equals_one_call_in_any_batches(monkeypatch):
    from jaxad.observables import efp

    particles = random_jets(6, n_jets=300, n_particles=40)
    graphs = {name: BY_HAND[name] for name in ("edge", "triangle with a leaf")}
    whole = evaluate(graphs, particles)
    np.testing.assert_allclose(compute_efps(graphs, particles, batch_size=77), whole, rtol=1e-5)
    monkeypatch.setattr(efp, "_FEWEST", 10)
    np.testing.assert_allclose(compute_efps(graphs, particles), whole, rtol=1e-5)
    assert compute_efps(graphs, particles[:0]).shape == (0, 2)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="beta must be larger than 0"):
        efp_function(BY_HAND, beta=0)
    with pytest.raises(UserError, match=r"found shape \(5, 4\)"):
        compute_efps(BY_HAND, np.zeros((5, 4)))


def test_graphs_share_their_steps():
    plan = make_plan([((0, 1), (1, 2), (0, 2)), ((0, 1), (1, 2), (0, 2), (2, 3))])
    assert sum(node.kind == "path" for node in plan.nodes.values()) == 1
    relabelled = make_plan([((0, 1), (1, 2)), ((5, 9), (9, 7))])
    assert relabelled.outputs[0] == relabelled.outputs[1]
    assert components(((4, 7), (1, 2), (7, 9))) == [((0, 1),), ((0, 1), (1, 2))]


def test_formula_and_drawing():
    import matplotlib.pyplot as plt

    assert formula(()) == "1"
    wedge = formula(((0, 1), (0, 2), (0, 2)))
    assert wedge == r"\sum_{a,b,c} z_a z_b z_c \theta_{ab} \theta_{ac}^{2}"
    figure, ax = plt.subplots()
    draw_graph(BY_HAND["square, one side doubled"], ax)
    assert len(ax.lines) == 5 and len(ax.collections[0].get_offsets()) == 4
    ax.set_title(f"${wedge}$")
    figure.canvas.draw()
    plt.close(figure)
