"""What a quantised network learns of the float one's codes: lengths, and high scores, above all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad.methods.stages.distillation import ALONG, ANYWHERE, MOST, code_loss, distance


def test_errors_along_a_code_count_more_than_those_across():
    target = jnp.array([[3.0, 4.0, 0.0, 0.0]])
    along, across = target * 1.1, target + jnp.array([[0.0, 0.0, 0.5, 0.0]])
    expected = 0.25 * (ANYWHERE + 4 * ALONG)
    np.testing.assert_allclose(distance(along, target), [expected], rtol=1e-4)
    assert distance(across, target)[0] < 0.2 * expected
    assert distance(target, target)[0] == 0


def test_of_one_number_it_is_the_squared_difference():
    found = distance(jnp.array([[-1.0], [2.0]]), jnp.array([[1.0], [2.5]]))
    np.testing.assert_allclose(found, [4.0, 0.25])


def test_events_of_high_score_count_more_up_to_a_bound():
    score = jnp.zeros(8).at[7].set(100.0)  # 1 + 8 of mean score: more than MOST
    target = jnp.zeros((8, 1))
    low, high = (jnp.zeros((8, 1)).at[i].set(1.0) for i in (0, 7))
    loss = [float(code_loss(c, target, score, jnp.ones(8))) for c in (low, high)]
    np.testing.assert_allclose(loss, [1 / (7 + MOST), MOST / (7 + MOST)], rtol=1e-6)
    weight = jnp.ones(8).at[7].set(0.0)  # an event without weight is in no mean
    np.testing.assert_allclose(code_loss(low, target, score, weight), 1 / 7, rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_codes_and_scores_of_nothing_have_a_loss_and_a_gradient(weight):
    zeros, weight = jnp.zeros((2, 3)), jnp.full(2, weight)
    value, gradient = jax.jit(jax.value_and_grad(code_loss))(zeros, zeros, jnp.zeros(2), weight)
    assert value == 0
    np.testing.assert_array_equal(gradient, zeros)
