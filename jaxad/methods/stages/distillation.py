"""The loss of a quantised network whose target are the codes of the float one."""

import jax.numpy as jnp
from jax import Array

from jaxad.training import weighted_mean

ANYWHERE, ALONG = 0.1, 0.45
"""What errors of a code count, and what those of its length do, see `distance`."""
MOST = 5.0
"""What an event of high score counts, at most; one of score 0 counts 1.

All were chosen for `mu2` of 57-32-16-8, by validation background at equal EBOPs: by drift, and by
how far the logarithms of the highest 5 % of scores are from those of the float network. Of other
scores and networks nothing was chosen, nor compared with codes alone. Learnt widths have about the
EBOPs that they have, at the same beta, of the squared distance of codes alone.
"""


def distance(codes: Array, target: Array) -> Array:
    """How far codes (n, d) are from the target (n, d), (n,), squared: they, and their lengths.

    The score is the square of a code's length. That is one direction of d, so it counts d times as
    much. One number has no length: it is the squared difference.
    """
    errors = jnp.sum((codes - target) ** 2, axis=-1)
    width = codes.shape[-1]
    if width == 1:
        return errors
    return ANYWHERE * errors + ALONG * width * (_length(codes) - _length(target)) ** 2


def code_loss(codes: Array, target: Array, score: Array, weight: Array) -> Array:
    """Mean `distance` () of a batch, of which events of high float score (n,) count more.

    Args:
        score: above 0; an event counts 1 + score / mean score, up to `MOST`, times its weight (n,).
    """
    mean = jnp.maximum(weighted_mean(score, weight), 1e-30)  # of a batch without weight, say
    counted = jnp.minimum(1 + score / mean, MOST)
    return weighted_mean(distance(codes, target), weight * counted)


def _length(codes: Array) -> Array:
    """Lengths (n,) with a gradient at 0 too."""
    return jnp.sqrt(jnp.sum(codes**2, axis=-1) + 1e-12)
