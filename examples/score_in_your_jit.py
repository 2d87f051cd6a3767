"""A scorer inside one's own compiled function: python score_in_your_jit.py RUN EVENTS.npy"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jaxad

scorer = jaxad.load(sys.argv[1])
threshold = scorer.threshold(fpr=0.02)["threshold"]


@jax.jit
def accepted_fraction(params, events, scale):
    """Fraction of events flagged when every momentum is off by a factor `scale`."""
    return jnp.mean(scorer.fn(params, events.at[..., 0].multiply(scale)) >= threshold)


events = jnp.asarray(np.load(sys.argv[2]), jnp.float32)
for scale in (0.98, 1.0, 1.02):
    print(f"scale {scale}: {accepted_fraction(scorer.params, events, scale):.4f} accepted")
