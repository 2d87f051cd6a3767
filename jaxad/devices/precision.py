"""How exactly an accelerator multiplies float32: one policy for all of jaxad.

What XLA calls "default" is TF32 on NVIDIA GPUs since Ampere (relative error 3e-4) and one pass of
bfloat16 on TPUs. That is right for the gradients of a training step, and for nothing else here:
scores, likelihoods, validation losses, distances and observables are "highest", float32 itself.
JAX_DEFAULT_MATMUL_PRECISION, where it is set, stands for both. A CPU knows float32 alone.
"""

import contextlib
import os
from contextlib import AbstractContextManager

import jax

CHOSEN = "JAX_DEFAULT_MATMUL_PRECISION"


def training() -> AbstractContextManager[None]:
    """While this is held, products are traced as a training step takes them."""
    return _traced("default")


def exact() -> AbstractContextManager[None]:
    """While this is held, products are traced as everything else takes them."""
    return _traced("highest")


def _traced(name: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext() if CHOSEN in os.environ else jax.default_matmul_precision(name)


def settle() -> None:
    """Make `exact` the rule of this process, for a command."""
    if CHOSEN not in os.environ:
        jax.config.update("jax_default_matmul_precision", "highest")
