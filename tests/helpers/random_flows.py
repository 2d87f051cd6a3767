"""Events, and parameters away from the identity at which every flow starts."""

import jax


def events(n_features=4, n=64, seed=0):
    x, m = jax.random.split(jax.random.key(seed))
    return jax.random.normal(x, (n, n_features)), jax.random.normal(m, (n, 1))


def random_params(flow, seed=1, scale=0.2):
    x, m = events(flow.n_features)
    params = jax.eval_shape(flow.init, jax.random.key(seed), x, m)
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noise = [scale * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, noise)
